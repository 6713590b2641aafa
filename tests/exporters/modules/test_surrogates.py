from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import set_surrogate
from tcja_exporters.modules.surrogates import ATan

from ... import networks
from ..graph.exporting import contract


def test_surrogates_are_replaced(tmp_path):
    """A network in the middle of its training exports as one that never was trained with a surrogate."""
    network, contract_ = networks.SMALL["fashion_mnist"].module(), contract("fashion_mnist")
    plain = export_onnx(network, contract_, "rates", {"producer": ""})
    set_surrogate(network.train(), ATan())
    assert export_onnx(network, contract_, "rates", {"producer": ""}).model == plain.model
    assert not network.training
