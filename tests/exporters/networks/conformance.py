"""What every network of the registry must do. A network's own test is a subclass of `Conformance`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
import torch
from spikingjelly.clock_driven import neuron
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.networks.base import ShapeReader
from tcja_exporters.reference import recorder
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.tensorrt import build as engines

from ... import networks
from ..checkpoint.wrapped import wrapped
from ..peers.published import LIFSpike
from .recorded import Recorded

THEIR_NEURONS = (neuron.MultiStepLIFNode, LIFSpike)
SAME_PADDING = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


class Conformance:
    """Every test below runs on `small`.

    Attributes:
        small: the network in a small size.
        published: from sizes, the same network put together from other people's layers; a mean over time included.
        parameters: of the published network, as its authors' code counts them; None where it has none.
        per_step: axis of time in what the published code returns, where it leaves the mean to its caller.
        recorded: whether its float64 answers were recorded.
        time_axis: of what the published code's neurons return.
        hoisted: whether the model convolves once what PyTorch convolves at every step.
    """

    small: ClassVar[networks.Small]
    published: ClassVar[Callable[[Any], nn.Module]]
    parameters: ClassVar[int | None] = None
    per_step: ClassVar[int | None] = None
    recorded: ClassVar[bool] = False
    time_axis: ClassVar[int] = 0
    hoisted: ClassVar[bool] = False

    def published_shapes(self, variant: dict[str, str]) -> Any:
        return self.small.network.sizes(ShapeReader({}, variant))

    def test_every_layer_fires(self):
        """What the tests compare must be alive."""
        rates = networks.firing_rates(self.small.module(), self.small.inputs(4))
        assert all(0.02 < rate < 0.7 for rate in rates.values()), rates

    @SAME_PADDING
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_spikes_are_those_of_the_published_code(self, dtype):
        ours = self.small.module().to(dtype)
        theirs = type(self).published(self.small.sizes).to(dtype).eval()
        assert list(ours.state_dict()) == list(theirs.state_dict())
        theirs.load_state_dict(ours.state_dict())
        batch = self.small.inputs(3)
        expected: dict[str, torch.Tensor] = {}
        for layer, module in theirs.named_modules():
            if isinstance(module, THEIR_NEURONS):
                module.register_forward_hook(lambda _m, _i, out, layer=layer: expected.__setitem__(layer, out))
        with torch.no_grad():
            output = theirs(batch.to(dtype)).numpy()
        for _ in range(2):  # nothing is kept between runs
            trace = recorder.run(ours, batch.numpy(), dtype)
            assert list(trace.spikes) == list(expected)
            for layer, spikes in expected.items():
                in_time = spikes.movedim(self.time_axis, 0).bool().numpy()
                np.testing.assert_array_equal(trace.spikes[layer], in_time)
            # Means may be summed in another order.
            np.testing.assert_allclose(trace.output, output, rtol=0, atol=8 * torch.finfo(dtype).eps)

    @SAME_PADDING
    def test_published_sizes_have_the_published_shapes(self):
        sizes = self.published_shapes({})
        with torch.device("meta"):
            ours, theirs = self.small.network.build(sizes), type(self).published(sizes)
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: v.shape for k, v in theirs.state_dict().items()
        }
        if self.parameters is not None:
            assert sum(p.numel() for p in ours.parameters()) == self.parameters

    def test_every_variant_is_told_by_its_keys(self):
        """Each choice of the network's variants, built at the published sizes, is read back as what it is."""
        network = self.small.network
        keys = set()
        for chosen in itertools.product(*network.variants.values()):
            variant = dict(zip(network.variants, chosen, strict=True))
            sizes = self.published_shapes(variant)
            with torch.device("meta"):
                state = network.build(sizes).state_dict()
            reader = ShapeReader({key: tuple(value.shape) for key, value in state.items()}, variant, {"T": ""})
            reader.settings = {"T": str(sizes.time_steps)}
            assert network.sizes(reader) == sizes
            assert not reader.conflicts
            keys.add(tuple(state))
        assert len(keys) == len(list(itertools.product(*network.variants.values())))

    def test_sizes_are_read_from_the_shapes(self):
        reader = ShapeReader({key: tuple(value.shape) for key, value in self.small.state().items()})
        assert self.small.network.sizes(reader) == self.small.sizes
        assert not reader.conflicts
        assert not reader.unknown

    def test_layers_are_those_that_fire(self):
        module, contract = self.small.module(), self.small.network.contract(self.small.sizes)
        batch = self.small.inputs(2)
        trace = recorder.run(module, batch.numpy())
        layers = recorder.layers(module, contract)
        assert [layer.name for layer in layers] == list(trace.spikes)
        for layer in layers:
            assert trace.spikes[layer.name].shape == (self.small.sizes.time_steps, 2, *layer.shape)
        np.testing.assert_array_equal(trace.output, module(batch).detach().numpy())

    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        """From the checkpoint alone: both ONNX models in ONNX Runtime, and NVIDIA's parser and builder."""
        checkpoint = self.small.checkpoint(tmp_path / "model.pth")
        found = identify(load_checkpoint(checkpoint))
        assert found.name == self.small.name
        batch = self.small.inputs(2)
        with torch.no_grad():
            assert torch.equal(found.model(batch), self.small.module()(batch))
        request = ExportRequest(checkpoint=checkpoint, out=tmp_path / "bundle", samples=4, target="tensorrt-rtx")
        manifest, result = pipeline.export(request)
        assert result.met
        assert result.backends[0].twins == ["model.onnx"]
        assert manifest.network == self.small.name
        assert manifest.unjudged == []
        assert all(engine.layers > 10 for engine in manifest.engines.values())
        assert "tensorrt-rtx" in engines.installed()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            found.model(batch)
        for file in (MODEL, PLAIN_MODEL):
            model = onnx.load(tmp_path / "bundle" / file, load_external_data=False)
            flops = 2 * Costs.of(model, batch=2).total().macs
            assert flops < counter.get_total_flops() if self.hoisted else flops == counter.get_total_flops()

    @pytest.mark.slow
    def test_float64_spike_counts_are_the_recorded_ones(self):
        """Answers of the published code in float64, for weights and inputs drawn from a seed."""
        if not self.recorded:
            pytest.skip("no answers of the published code were recorded")
        recorded = Recorded.of(self.small.name)
        found = identify(wrapped(recorded.state()))
        assert found.name == self.small.name
        trace = recorder.run(found.model, recorded.inputs(), torch.float64)
        assert list(trace.spikes) == recorded.layers
        counts = [spikes.reshape(*spikes.shape[:2], -1).sum(axis=2).T for spikes in trace.spikes.values()]
        np.testing.assert_array_equal(counts, recorded.spike_counts)
        output = recorded.output if self.per_step is None else recorded.output.mean(self.per_step)
        np.testing.assert_allclose(trace.output, output, rtol=0, atol=1e-14)
