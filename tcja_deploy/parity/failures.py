"""The conditions of parity that a comparison does not meet, each with a sentence for people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from tcja_deploy.parity.judge import Deviation, Flips, Place
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.counting import agree, counted
from tcja_runtime.evidence import input_range, stimulus

OUTPUT = "the output"
WINDOWS, RANDOM, EXACT, RANGE = "windows", stimulus.RANDOM, stimulus.EXACT, input_range.RANGE
WIDE = "wide"
"""The names of the scenes: the windows, the three stimuli, and the random stimulus repeated in one large batch."""

_ON_SCENE = {
    WINDOWS: "",
    RANDOM: ", on the random stimulus,",
    EXACT: ", on the exact stimulus,",
    RANGE: ", on the range stimulus,",
    WIDE: ", on the random stimulus in a large batch,",
}


@dataclasses.dataclass(kw_only=True)
class Failure:
    """A condition of parity that is not met.

    Attributes:
        kind: what fails: the "neurons" of a layer alone, the "values" of a signal or the output, the "spikes" of a
            layer, "models" that differ from each other, the output of an "engine", or the "accuracy".
        text: the failure in a sentence, for people.
        model: the file of the model.
        scene: the name of the scene in which it was seen; None if it was in none.
        signal: the name of the layer, of the part of an attention block, or OUTPUT; None for the whole network.
        place: the first wrong value; None if the failure is not about a value.
    """

    kind: str
    text: str
    model: str
    scene: str | None = None
    signal: str | None = None
    place: Place | None = None


class Failures:
    """The first failure of each kind, model, scene and signal.

    Args:
        signature: the signature of the network that is compared.
    """

    def __init__(self, signature: NetworkSignature) -> None:
        self._layers = {layer.name for layer in signature.layers}
        self._first: dict[tuple[str | None, ...], Failure] = {}

    @property
    def all(self) -> list[Failure]:
        """The failures in the order they were added."""
        return list(self._first.values())

    def add_neurons(self, model: str, layer: str, text: str) -> None:
        """Add that the neurons of a layer, run alone, do not fire as specified."""
        self._add(Failure(kind="neurons", text=text, model=model, signal=layer))

    def add_values(self, model: str, scene: str, signal: str, deviation: Deviation) -> None:
        """Add a signal, or the output, if any of its values is beyond its bound."""
        place = deviation.first
        if place is None:
            return
        found, expected = _told_apart(place)
        text = (
            f"{self._named(signal)}{_ON_SCENE[scene]} is {found} instead of {expected} at {_words(place)}, "
            f"where rounding explains a difference of {place.bound:.2g}; {deviation.beyond:,} of {deviation.seen:,} "
            f"values in {model} differ so"
        )
        self._add(Failure(kind="values", text=text, model=model, scene=scene, signal=signal, place=place))

    def add_flips(self, model: str, layer: Layer, flips: Flips) -> None:
        """Add the spikes of a layer, if any flip is unexplained."""
        place = flips.first
        if place is None:
            return
        n = int(flips.unexplained.sum())
        if place.expected is None or place.bound is None:
            why = "where the neuron is not undecided"
        else:
            neuron = layer.neurons(np.ravel_multi_index(place.element, layer.shape).reshape(1))
            distance = float(abs(place.expected - array_of(neuron.threshold)))
            why = f"{distance:.2g} from its threshold, where rounding explains {place.bound:.2g}"
        text = (
            f"{counted(n, 'spike')} of {layer.name} in {model} {agree(n, 'differs', 'differ')} and rounding does not "
            f"explain {agree(n, 'it, at', 'them, the first at')} {_words(place)}, {why}"
        )
        self._add(Failure(kind="spikes", text=text, model=model, scene=WINDOWS, signal=layer.name, place=place))

    def add_unlike(self, model: str, other: str, layers: Iterable[str]) -> None:
        """Add that the spikes of some layers differ between two models of the network."""
        text = f"{other} and {model} differ in {', '.join(sorted(layers))}"
        self._add(Failure(kind="models", text=text, model=other, scene=WINDOWS))

    def _add(self, failure: Failure) -> None:
        self._first.setdefault((failure.kind, failure.model, failure.scene, failure.signal), failure)

    def _named(self, signal: str) -> str:
        if signal == OUTPUT:
            return signal
        return f"the current of {signal}" if signal in self._layers else f"what {signal} returns"


def _words(place: Place) -> str:
    return f"window {place.window}, time step {place.time_step}, neuron {place.element}"


def _told_apart(place: Place) -> tuple[str, str]:
    """The value that was found and the expected one, with as many digits as tell them apart."""
    for digits in (6, 9, 17):
        found, expected = f"{place.found:.{digits}g}", f"{place.expected:.{digits}g}"
        if found != expected:
            break
    return found, expected
