import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.trained_network import with_output_per_step
from tcja_exporters.networks.base import Attention, ShapeReader
from tcja_exporters.networks.fsvae import NETWORK, Fsvae, Sizes
from tcja_runtime.errors import BadInput

from ... import networks
from ..checkpoint.wrapped import wrapped
from ..peers.published import TCJA, LIFSpike
from .conformance import SAME_PADDING, Conformance

SMALL = networks.REGISTRY["fsvae"].sizes
NONE = Attention("none", "product", 4, ((0, 0),))
PUBLISHED = Sizes(Attention("none", "product", 16, ((0, 0),)), "membrane")


class Spike(LIFSpike):
    """Their neuron's step, u = tau * u * (1 - o) + x; over [T, N, ...], as the tests compare spikes."""

    def forward(self, x: Tensor) -> Tensor:
        u = o = torch.zeros_like(x[0])
        fired = []
        for step in x:
            u = 0.25 * u * (1 - o) + step
            o = torch.gt(u, 0.2).to(x.dtype)
            fired.append(o)
        return torch.stack(fired)


class TdNorm(nn.BatchNorm2d):
    """Over [N, C, H, W, T], for a threshold of 0.2."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var, weight, bias = (
            value[None, :, None, None, None] for value in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        return 0.2 * (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def fired(spike: nn.Module, x: Tensor) -> Tensor:
    """With time as the last axis."""
    return spike(x.movedim(-1, 0)).movedim(0, -1)


class TdLinear(nn.Linear):
    """[N, C, T] -> [N, C, T]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bn, self.spike = TdNorm(outputs), Spike()

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x.transpose(1, 2)).transpose(1, 2)
        return fired(self.spike, self.bn(y[:, :, None, None])[:, :, 0, 0])


class TdConvTranspose(nn.ConvTranspose3d):
    """[N, C, H, W, T] -> the same with twice the height and width."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, (3, 3, 1), (2, 2, 1), (1, 1, 0), (1, 1, 0))
        self.bn, self.spike = TdNorm(outputs), Spike()

    def forward(self, x: Tensor) -> Tensor:
        return fired(self.spike, self.bn(super().forward(x)))


class MembraneOutput(nn.Module):
    def __init__(self, time_steps: int) -> None:
        super().__init__()
        powers = [0.8**step for step in reversed(range(time_steps))]
        self.register_buffer("coef", torch.tensor(powers)[None, None, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return torch.sum(x * self.coef, dim=-1)


class Generator(nn.Module):
    """The published decode, time last throughout; TCJA and the mean over time where the sizes say so."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        w, attention = sizes.widths, sizes.attention
        self.decoder_input = TdLinear(sizes.latent, 4 * w[0])
        self.decoder = nn.Sequential(*(TdConvTranspose(w[i], w[i + 1]) for i in range(len(w) - 1)))
        self.final_layer = nn.Sequential(
            TdConvTranspose(w[-1], w[-1]), nn.ConvTranspose3d(w[-1], sizes.channels, (3, 3, 1), padding=(1, 1, 0))
        )
        self.tcja = nn.Identity()
        if attention.kind == "tcja":
            self.tcja = TCJA(*attention.kernels[0], attention.time_steps, sizes.channels)
        if sizes.readout == "membrane":
            self.membrane_output_layer = MembraneOutput(attention.time_steps)

    def forward(self, latents: Tensor) -> Tensor:
        z = latents.transpose(1, 2)
        x = self.decoder_input(z)
        x = self.final_layer(self.decoder(x.view(len(x), -1, 2, 2, z.shape[2])))
        x = self.tcja(x.movedim(-1, 0)).movedim(0, -1)
        return torch.tanh(self.membrane_output_layer(x) if hasattr(self, "membrane_output_layer") else x.mean(-1))


class TestFsvae(Conformance):
    small = networks.REGISTRY["fsvae"]
    published = Generator
    parameters = 532_517


@SAME_PADDING
@pytest.mark.parametrize("attention", [SMALL.attention, NONE], ids=["tcja", "none"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_membrane_of_the_published_network(attention, channels):
    sizes = SMALL._replace(attention=attention, readout="membrane", channels=channels)
    small = networks.Small("fsvae", sizes)
    theirs = Generator(sizes).eval()
    theirs.load_state_dict(small.state())
    found = identify(wrapped(small.state()))
    assert (found.name, found.time_steps, found.output, found.classes) == ("fsvae", 4, "image", ())
    assert found.contract.shape == (4, 12)
    assert "T = 4 (membrane_output_layer.coef)" in found.evidence or attention.kind == "tcja"
    latents = small.inputs(5)
    with torch.no_grad():
        image = found.model(latents)
        torch.testing.assert_close(image, theirs(latents), rtol=0, atol=2e-6)
    assert image.shape == (5, channels, 32, 32)
    assert image.std() > 0.1
    with pytest.raises(BadInput, match=r"^fsvae does not average its output over time"):
        with_output_per_step(found)


def test_a_plain_mean_does_not_tell_the_number_of_steps():
    sizes = SMALL._replace(attention=NONE)
    small = networks.Small("fsvae", sizes)
    with pytest.raises(BadInput, match=r"^model.pth is a fsvae, but does not store T"):
        identify(wrapped(small.state()))
    found = identify(wrapped(small.state()), settings={"T": "4"})
    theirs = Generator(sizes).eval()
    theirs.load_state_dict(small.state())
    latents = small.inputs(5)
    with torch.no_grad():
        torch.testing.assert_close(found.model(latents), theirs(latents), rtol=0, atol=2e-6)


def test_the_images_of_each_step():
    small = networks.REGISTRY["fsvae"]
    found = identify(wrapped(small.state()))
    latents = small.inputs(5)
    with torch.no_grad():
        image = found.model(latents)
        steps = with_output_per_step(found).model(latents)
    assert steps.shape == (5, 4, 3, 32, 32)
    torch.testing.assert_close(torch.tanh(torch.atanh(steps.double()).mean(1)).float(), image, rtol=0, atol=1e-4)


def trained_with_it(latent: int, k: int, widths: tuple[int, ...], channels: int) -> dict[str, Tensor]:
    """What else the published checkpoints hold: encoder, posterior and prior."""
    layers: dict[str, tuple[int, ...]] = {}
    rising = (channels, *reversed(widths))
    for i in range(len(widths)):
        layers[f"encoder.{i}"] = (rising[i + 1], rising[i], 3, 3, 1)
    layers["before_latent_layer"] = (latent, 4 * widths[0])
    for part, inputs in (("prior", latent), ("posterior", 2 * latent)):
        units = (inputs, 2 * latent, 4 * latent, k * latent)
        layers |= {f"{part}.layers.{i}": (units[i + 1], units[i]) for i in range(3)}
    state = {f"{part}.initial_input": torch.zeros(1, latent, 1) for part in ("prior", "posterior")}
    for name, shape in layers.items():
        state[f"{name}.weight"] = torch.zeros(shape)
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
        for key in ("bias", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
            state[f"{name}.{key}"] = torch.zeros(shape[0])
    return state


def learned(state: dict[str, Tensor]) -> int:
    return sum(value.numel() for key, value in state.items() if key.endswith(("weight", "bias")))


@pytest.mark.parametrize(
    ("widths", "channels", "whole", "keys", "generator", "side"),
    [
        ((256, 128, 64, 32), 1, 4_053_601, 117, 531_489, 32),
        ((256, 128, 64, 32), 3, 4_054_755, 117, 532_067, 32),
        ((512, 256, 128, 64, 32), 3, 6_681_571, 131, 1_846_627, 64),
    ],
)
def test_the_published_checkpoints(widths, channels, whole, keys, generator, side):
    """Whole, as their training saves them: the generator is found in them, the rest left out."""
    sizes = PUBLISHED._replace(widths=widths, channels=channels)
    deployed = NETWORK.build(sizes).state_dict()
    state = trained_with_it(128, 20, widths, channels) | deployed
    assert (learned(deployed), learned(state), len(state)) == (generator, whole, keys)
    found = identify(wrapped(state))
    assert (found.name, found.time_steps, found.parameters) == ("fsvae", 16, generator)
    assert f"the other {keys - len(deployed)} belong to parts that are not deployed" in found.evidence
    with torch.no_grad():
        assert found.model(torch.zeros(1, 16, 128)).shape == (1, channels, side, side)


def test_training_normalises_by_the_batch_and_reaches_every_weight():
    """Values of a batch have the norm's bias as mean and threshold times weight as deviation; counts are kept."""
    torch.manual_seed(0)
    network = Fsvae().build(SMALL).train()
    latents = networks.REGISTRY["fsvae"].inputs(16)
    seen: list[Tensor] = []
    network.decoder[0].spike.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    network(latents)
    (current,) = seen
    torch.testing.assert_close(current.mean((0, 1, 3, 4)), torch.zeros(12), rtol=0, atol=1e-5)
    torch.testing.assert_close(current.std((0, 1, 3, 4)), torch.full((12,), 0.2), rtol=1e-2, atol=0)
    assert int(network.decoder[0].bn.num_batches_tracked) == 1


def test_a_checkpoint_that_lacks_tensors_is_still_compared_as_a_whole():
    state = dict(networks.REGISTRY["fsvae"].state())
    del state["decoder.0.weight"]
    with pytest.raises(BadInput, match=r"is not the fsvae network, its nearest .*: decoder\.0\.weight is missing"):
        identify(wrapped(state))
    assert NETWORK.sizes(ShapeReader({})) == Sizes()
