"""What is known of a loaded network, as a record and as a paragraph for people."""

from __future__ import annotations

import dataclasses

from tcja_runtime.backends.checked import InputRange
from tcja_runtime.backends.proven import Proven
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.counting import counted, listed
from tcja_runtime.data.contract import InputContract
from tcja_runtime.files.text import one_line


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """What is known of a loaded network. `print` shows it as a paragraph.

    Attributes:
        bundle: the bundle's path.
        sha256: the hash of what was exported, the same in every copy of the bundle (`Bundle.sha256`).
        network: the name of the network.
        time_steps: T, the number of time steps in a window.
        input: the input contract: the name, the shape and the scaling of the values.
        taken: the values that the network takes.
        output: the kind of the scores, "rates" or "logits"; for a generator "image".
        output_shape: the shape of the output for a window.
        classes: the names of the classes, in the order of the scores; empty for a network that does not classify.
        parameters: the number of trained parameters.
        precision: the type of weights and activations, "fp32", "fp16" or "int8".
        stepwise: whether the bundle has stepwise models, so that the network can run frame by frame.
        backend: the name and the version of the backend that runs the network, for people.
        engine: the name of the engine that is loaded; None in ONNX Runtime.
        not_run: a line for each engine of the bundle that this machine cannot run, with the reason.
        parity: the verdict of the export, in a sentence; empty if the bundle does not have it.
        signature: who signed the bundle, such as "signed by key release.pub (SHA256:...)", or "not signed".
    """

    bundle: str
    sha256: str = dataclasses.field(repr=False)
    network: str
    time_steps: int
    input: InputContract
    taken: InputRange = dataclasses.field(repr=False)
    output: str
    output_shape: tuple[int, ...]
    classes: tuple[str, ...]
    parameters: int
    precision: str
    stepwise: bool
    backend: str
    engine: str | None
    not_run: tuple[str, ...]
    parity: str
    signature: str

    @classmethod
    def of(cls, bundle: Bundle, backend: Backend) -> NetworkInfo:
        """Returns what is known of a bundle's network that is loaded in a backend."""
        manifest = bundle.manifest
        return cls(
            bundle=str(bundle.path),
            sha256=bundle.sha256,
            network=manifest.network,
            time_steps=manifest.time_steps,
            input=manifest.input,
            taken=InputRange(Proven(bundle)),
            output=manifest.output,
            output_shape=manifest.output_shape,
            classes=tuple(manifest.classes),
            parameters=manifest.parameters,
            precision=manifest.precision,
            stepwise=bool(manifest.streaming),
            backend=backend.title,
            engine=backend.engine.name if backend.engine else None,
            not_run=tuple(backend.not_run),
            parity=manifest.parity.verdict,
            signature=str(bundle.origin.manifest),
        )

    def __str__(self) -> str:
        of = f"{counted(len(self.classes), 'class')} ({listed(self.classes, 4)})" if self.classes else "no classes"
        taken = f"'{self.input.name}' [N, {', '.join(map(str, self.input.shape))}]"
        recordings = ", or recordings of events" if self.input.name == "frames" and self.input.split else ""
        lines = [
            f"{self.network} of {self.bundle}, in {self.backend}.",
            f"It has {of}, {counted(self.parameters, 'parameter')} and {counted(self.time_steps, 'time step')}, in "
            f"{self.precision}.",
            f"It takes {taken}: {self.taken}{recordings}.",
            *filter(None, [self.parity]),
            f"The bundle is {self.signature}.",
            *(f"Not run: {line}." for line in self.not_run),
        ]
        return "\n".join(map(one_line, lines))
