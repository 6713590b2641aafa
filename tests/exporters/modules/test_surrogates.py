import pytest

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.modules.neurons import set_surrogate
from tcja_exporters.modules.surrogates import ATan

from ... import networks
from ..graph.exporting import contract


@pytest.mark.slow
def test_surrogates_are_replaced(exports):
    """A network in the middle of its training exports as one that never was trained with a surrogate."""
    network, contract_ = networks.SMALL["fashion_mnist"].module(), contract("fashion_mnist")
    plain, _ = exports["fashion_mnist"]
    set_surrogate(network.train(), ATan())
    assert export_onnx(network, contract_, "rates", {"producer": "tests", "T": "5"}).model == plain.model
    assert not network.training
