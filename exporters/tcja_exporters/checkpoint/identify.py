"""Identifies the network of a checkpoint.

For each variant of each registered network, the sizes are read from the shapes of the checkpoint's tensors, and the
network is built with these sizes. The network fits if the checkpoint has exactly the tensors of the network, in the
same shapes. Older training code has the same layers in other containers, so its keys differ. The keys are therefore
changed to the spelling of the published checkpoints before they are compared.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tcja_exporters import networks
from tcja_exporters.checkpoint import constants, copies, keys
from tcja_exporters.checkpoint.load import Checkpoint, check_values, holds_integers
from tcja_exporters.checkpoint.spellings import respelled
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.checkpoint.weight_sets import WeightSet
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.networks.base import AnyNetwork, ShapeReader, Sizes, T
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.counting import listed
from tcja_runtime.errors import BadInput

Settings = Mapping[str, str]
"""The settings of a network that its checkpoint does not store, by name, such as {"T": "10"}."""

_OPTIONAL = "num_batches_tracked"  # a counter that inference does not use and old checkpoints lack
_LONGEST = 10_000  # the largest number of time steps
_SHOWN = 3  # the number of differences or keys in a message
_COMPARED = ("eps", "stride", "dilation", "groups")  # attributes of layers that no spelling of a network changes
_LONG = 80  # the largest number of characters of a key in a message


class UnknownNetwork(BadInput):
    """A checkpoint that fits no network of the registry, or several."""


def identify(checkpoint: Checkpoint, name: str | None = None, settings: Settings | None = None) -> TrainedNetwork:
    """Find the network that a checkpoint belongs to; return it with the checkpoint's weights.

    Args:
        checkpoint: the trained weights.
        name: the name of the network; None to compare the checkpoint with all registered networks.
        settings: the settings of the network that the checkpoint does not store, by name.

    Raises:
        UnknownNetwork: several networks fit; or no network fits, then the message names the nearest network and the
            differences.
        Unavailable: the network that was named is that of an extension, which does not load.
        BadInput: the name of the network or a setting is unknown; a setting that the network needs is missing; the
            values of the weights cannot be used; or a saved module has other neuron constants than the network.
    """
    settings = settings or {}
    candidates, untried = networks.all_networks() if name is None else ([networks.named(name)], [])
    _check(settings, candidates)
    fits = _all_fits(candidates, checkpoint, settings)
    exact = [fit for fit in fits if not fit.differences]
    if not exact:
        refusal = _refusal(checkpoint, max(fits, key=lambda fit: fit.matching), asked=name)
        raise UnknownNetwork("; ".join([refusal, *untried]))
    fit, why = _only(exact, checkpoint)
    _check(settings, [fit.network])
    if fit.reader.unknown:
        raise BadInput(f"{checkpoint.path} is a {fit.network.name}, but does not store {'; '.join(fit.reader.unknown)}")
    check_values(checkpoint.path, fit.state)
    model = fit.network.build(fit.sizes)
    model.load_state_dict(fit.state, strict=False)
    neurons = {layer: neuron.spec for layer, neuron in spiking_neurons(model).items()}
    extension = networks.extension_of(fit.network.name)
    return TrainedNetwork(
        name=fit.network.name,
        summary=fit.network.summary,
        dialect=fit.network.dialect_of(fit.sizes).name,
        model=model.eval(),
        contract=fit.network.contract(fit.sizes),
        output=fit.network.output,
        classes=fit.network.classes(fit.sizes),
        time_steps=fit.sizes.time_steps,
        source=checkpoint.source(fit.of),
        packages={extension.package: extension.version} if extension else {},
        evidence=[
            *_found(fit),
            *([f"the network is added by {extension}"] if extension else []),
            *(f"{CHECK}{line}" for line in untried),
            *checkpoint.taken(fit.of),
            *_compared(fit.of.module, model, checkpoint),
            *why,
            *fit.reader.evidence,
            *constants.remarks(checkpoint.told(fit.of), neurons, fit.sizes.time_steps),
        ],
    )


def _compared(saved: nn.Module | None, model: nn.Module, checkpoint: Checkpoint) -> list[str]:
    """Compare a saved module with the network; return a line on what was compared, none if no module was saved.

    Raises:
        BadInput: the constants of neurons or of layers differ.
    """
    if saved is None:
        return []
    constants.check_layers(saved, model, checkpoint.path, _COMPARED)
    return constants.check_neurons(saved, model, checkpoint.path)


def _all_fits(candidates: list[AnyNetwork], checkpoint: Checkpoint, settings: Settings) -> list[_Fit]:
    """Return the fits of the first set of weights that a network fits; if there is none, those of the first set."""
    first: list[_Fit] = []
    for one in checkpoint.sets:
        fits = [fit for network in candidates for fit in _fits(network, one, settings)]
        if any(not fit.differences for fit in fits):
            return fits
        first = first or fits
    return first


def _found(fit: _Fit) -> list[str]:
    """Return lines that say which tensors of the checkpoint are used, and which are not."""
    where = f"found under '{fit.of.key}'" if fit.of.key else "found as a bare state_dict"
    total = len(fit.of.state)
    tensors = f"all {fit.used}" if fit.used == total else f"{fit.used} of {total}"
    undeployed = total - fit.used - len(fit.left)
    return [
        f"{tensors} tensors, {where}, fit {fit.network.name}{fit.spelling}",
        *([f"the other {undeployed} belong to parts that are not deployed"] if undeployed else []),
        *([f"{CHECK}not loaded: {keys.few(fit.left)}"] if fit.left else []),
        *copies.remarks(fit.of.state),
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fit:
    """A checkpoint compared with one variant of a network.

    Attributes:
        network: the network.
        of: the set of weights.
        left: the keys of the checkpoint that are outside the network, or are no weights.
        sizes: the sizes that were read from the checkpoint and the settings.
        state: the checkpoint's tensors, by the keys of the network.
        spelling: a remark that names the spelling of the checkpoint's keys; empty for the published spelling.
        reader: the reader of the sizes, which holds the evidence, the conflicts and the unknown sizes.
        used: the number of tensors in the checkpoint that the network could use.
        differences: the differences between checkpoint and network, a phrase each.
        matching: the number of tensors of the network that the checkpoint has in the right shape.
        total: the number of tensors that the network needs.
    """

    network: AnyNetwork
    of: WeightSet
    left: list[str]
    sizes: Sizes
    state: Mapping[str, Tensor]
    spelling: str
    reader: ShapeReader
    used: int
    differences: list[str]
    matching: int
    total: int


def _check(settings: Settings, candidates: list[AnyNetwork]) -> None:
    """Check that some candidate has each setting and its value.

    Raises:
        BadInput: no candidate has a setting, or the value of a setting.
    """
    for name, value in settings.items():
        if name == T:
            if not value.isdecimal() or not 1 <= int(value[: len(str(_LONGEST)) + 1]) <= _LONGEST:
                raise BadInput(f"`settings` T={value}: T is a number of time steps from 1 to {_LONGEST}")
            continue
        choices = {
            choice
            for network in candidates
            for choice in (*network.variants.get(name, ()), *network.settings.get(name, ()))
        }
        if not choices:
            known = sorted({T}.union(*({*network.variants, *network.settings} for network in candidates)))
            names = " or ".join(network.name for network in candidates)
            raise BadInput(f"`settings` {name}={value}: {names} has no such setting; known are: {', '.join(known)}")
        if value not in choices:
            raise BadInput(f"`settings` {name}={value}: it can be {' or '.join(sorted(choices))}")


def _variants(network: AnyNetwork, settings: Settings) -> Iterator[dict[str, str]]:
    """Yield the variants of a network that the settings allow, the published one first."""
    allowed = [
        [choice for choice in choices if settings.get(name, choice) == choice]
        for name, choices in network.variants.items()
    ]
    for chosen in itertools.product(*allowed):
        yield dict(zip(network.variants, chosen, strict=True))


def _only(exact: list[_Fit], checkpoint: Checkpoint) -> tuple[_Fit, list[str]]:
    """Return the fit to use; and the reason for the choice, in one line, if several networks fit.

    Raises:
        BadInput: several networks fit, and the sizes do not show which of them the checkpoint belongs to.
    """
    if len(exact) == 1:
        return exact[0], []
    told = [(fit, fit.network.told_by(fit.sizes)) for fit in exact]
    sure = [(fit, why) for fit, why in told if why]
    if len(sure) != 1:
        which = "; ".join(f"{fit.network.name} ({fit.network.summary})" for fit in exact)
        raise UnknownNetwork(
            f"{checkpoint.path} fits several networks, which have the same keys and shapes but compute "
            f"differently: {which}. Choose one with `network`"
        )
    fit, why = sure[0]
    others = " or ".join(other.network.name for other in exact if other is not fit)
    return fit, [
        f"{CHECK}{why}, as published for {fit.network.name}; a retrained {others} may look the same; if it is one, "
        "say so with `network`"
    ]


def _fits(network: AnyNetwork, one: WeightSet, settings: Settings) -> Iterator[_Fit]:
    """Yield a fit for each variant of a network; if no tensor matches the first variant, only for the first.

    The keys are read under the likeliest prefix for which a variant fits; if none fits, under the likeliest.
    """
    whole = copies.as_published(keys.unwrapped(one.state))
    best: list[_Fit] = []
    for prefix in keys.prefixes(whole, _tops(network)):
        fits = list(_fits_under(network, one, whole, prefix, settings))
        if any(not fit.differences for fit in fits):
            yield from fits
            return
        best = best or fits
    yield from best


def _fits_under(
    network: AnyNetwork, one: WeightSet, whole: Mapping[str, Tensor], prefix: str, settings: Settings
) -> Iterator[_Fit]:
    """Yield the fits of `_fits` for one prefix of the keys in `whole`, a set of weights without torch's wrappers."""
    state = {
        inside: value
        for key, value in whole.items()
        if key.startswith(prefix) and keys.is_weight(inside := key.removeprefix(prefix))
    }
    left = [key for key in whole if not key.startswith(prefix) or key.removeprefix(prefix) not in state]
    state = {key: value for key, value in state.items() if not key.startswith(network.undeployed or "\0")}
    for i, variant in enumerate(_variants(network, settings)):
        fit = dataclasses.replace(_fit(network, one, state, variant, settings), left=left)
        yield fit
        if i == 0 and not fit.matching:
            return


@functools.cache
def _tops(network: AnyNetwork) -> tuple[str, ...]:
    """Return the first parts of a network's keys."""
    with torch.device("meta"):
        skeleton = network.build(network.sizes(ShapeReader({}, next(_variants(network, {})))))
    return tuple({key.partition(".")[0] for key in skeleton.state_dict()})


def _fit(
    network: AnyNetwork, one: WeightSet, state: Mapping[str, Tensor], variant: dict[str, str], settings: Settings
) -> _Fit:
    """Return the fit of the tensors `state`, of a set of weights, and one variant of a network."""
    state, spelling = respelled(network, variant, state)
    used = len(state)
    state, tied = _untied(network, state)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    reader = ShapeReader(shapes, variant, settings)
    sizes: Sizes = network.sizes(reader)
    with torch.device("meta"):
        tensors = network.build(sizes).state_dict()
    wanted = {key: tuple(value.shape) for key, value in tensors.items()}
    needed = [key for key in wanted if not key.endswith(_OPTIONAL)]
    differences = [
        *reader.conflicts,
        *tied,
        *(f"{key} is missing" for key in needed if key not in shapes),
        *(f"{key} is not part of it" for key in shapes if key not in wanted),
        *(
            f"{key} is {_by(shapes[key])}, it should be {_by(wanted[key])}"
            for key in needed
            if key in shapes and shapes[key] != wanted[key]
        ),
        *(
            f"{key} has the type {str(value.dtype).removeprefix('torch.')}, it should be float32"
            for key, value in state.items()
            if key in tensors and tensors[key].is_floating_point() and holds_integers(value)
        ),
    ]
    return _Fit(
        network=network,
        of=one,
        left=[],
        sizes=sizes,
        state=state,
        spelling=spelling,
        reader=reader,
        used=used,
        differences=differences,
        matching=sum(shapes.get(key) == wanted[key] for key in needed),
        total=len(needed),
    )


def _untied(network: AnyNetwork, state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], list[str]]:
    """Return the tensors without their copies, by canonical key; and a phrase for each copy that differs."""
    once: dict[str, Tensor] = {}
    differing: list[str] = []
    for key, value in state.items():
        first = once.setdefault(network.canonical(key), value)
        if first is not value and not _equal(first, value):
            differing.append(f"{key} must be the same tensor as {network.canonical(key)}, but differs")
    return once, differing


def _equal(one: Tensor, other: Tensor) -> bool:
    try:
        return torch.equal(one, other)
    except (RuntimeError, TypeError):  # tensors without values, or of kinds that cannot be compared
        return False


def _by(shape: tuple[int, ...]) -> str:
    """Return a shape in words, such as "3x3"; "a scalar" for a shape without axes."""
    return "x".join(map(str, shape)) or "a scalar"


def _refusal(checkpoint: Checkpoint, nearest: _Fit, asked: str | None) -> str:
    """Return the message for a checkpoint that fits no network: it names the nearest network and the differences."""
    other = next(filter(None, (copies.refusal(checkpoint.path, one.state) for one in checkpoint.sets)), "")
    if other:
        return other
    own = ". A network of your own is exported with `model`" if asked is None else ""
    if nearest.matching == 0:
        known = ", ".join(networks.NETWORKS)
        what = f"of no known network ({known})" if asked is None else f"not the {asked} network, as asked"
        some = ", ".join(key[:_LONG] for key in list(checkpoint.state)[:_SHOWN])
        return f"{checkpoint.path} is {what}: its keys begin {some}{own}"
    return (
        f"{checkpoint.path} is not {'the' if asked is None else 'this'} {nearest.network.name} network, "
        f"{'its nearest' if asked is None else 'as asked'} ({nearest.matching} of {nearest.total} tensors fit): "
        f"{listed(nearest.differences, _SHOWN, '; ')}{own}"
    )
