"""The model card of a bundle, README.md: what the network is, how to run it, what was compared, and all files.

It begins with the metadata of model cards on the Hugging Face Hub, in YAML between two lines "---"
(https://github.com/huggingface/hub-docs/blob/main/modelcard.md). So a bundle can be uploaded there as it is.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.counting import counted, numbered
from tcja_runtime.files.text import one_line, shown

LIBRARY = "tcja-deploy"
_PIPELINES = {
    "frames": "video-classification",
    "images": "image-classification",
    "features": "other",
    "latents": "unconditional-image-generation",
}
"""The task of the Hub (https://huggingface.co/tasks) that fits a network best, by the name of its input."""
_TAGS = {"frames": ["event-camera"], "images": [], "features": ["time-series"], "latents": []}
_MARKUP = re.compile(
    r"[\\`*\[\]<>|~&$#@]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"
    r"|^[-+]|(?<=www)\.|:(?=//)",  # lists, and what GitHub makes a link of
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"^([0-9]+)([.)])")


@dataclasses.dataclass(frozen=True)
class CardFile:
    """A file of a bundle, as its card lists it.

    Attributes:
        name: the path of the file in the bundle.
        size: its size in bytes.
        sha256: its sha256, in hexadecimal.
        holds: what the file holds, a phrase.
    """

    name: str
    size: int
    sha256: str
    holds: str


@dataclasses.dataclass(frozen=True)
class _Measured:
    """The accuracy of the exported network.

    Attributes:
        right: the number of windows that it classifies correctly.
        labelled: the number of windows with a label.
        data: the origin of the windows, for people.
        backend: the name and version of the backend, for people.
    """

    right: int
    labelled: int
    data: str
    backend: str


def card(manifest: Manifest, files: Sequence[CardFile]) -> str:
    """Returns the text of a bundle's README.md.

    Args:
        manifest: the manifest of the bundle.
        files: the files of the bundle, all but the card itself and the manifest.
    """
    metadata = "\n".join(_yaml(_metadata(manifest)))
    parts = [
        f"---\n{metadata}\n---\n\n# {plain(manifest.network)}",
        _summary(manifest),
        "## Run it",
        _program(manifest),
        "## Input and output",
        _table(["", ""], _contract(manifest)),
        "## What was compared",
        *_compared(manifest),
        "## What was not judged",
        "\n".join(f"- {plain(line)}" for line in _unjudged(manifest)),
        "## Files",
        _table(["file", "bytes", "holds"], [(code(f.name), f"{f.size:,}", plain(f.holds)) for f in files]),
        "## Origin and hashes",
        _table(["", ""], _origin(manifest)),
        _table(["file", "sha256"], [(code(f.name), code(f.sha256)) for f in files]),
        "`manifest.json` lists the same hashes and that of this card. `tcja-deploy verify` and `inspect` check all of "
        "them; `run` does not look at parity.json, report.html and this card. A hash proves that a file has not "
        "changed. It does not prove who wrote it.",
    ]
    return shown("\n\n".join(parts) + "\n")


def plain(text: str) -> str:
    """Returns a text in Markdown that is read as it is, in one line: no part of it is markup, a list or a link."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", one_line(text).strip()))


def code(text: str) -> str:
    """Returns a text as code in Markdown, in one line; or as plain text if it has signs that code cannot have."""
    line = one_line(text).strip()
    return plain(text) if not line or set(line) & set("`|") else f"`{line}`"


def _metadata(manifest: Manifest) -> dict[str, Any]:
    """Returns the metadata for the Hub. There is no license, as no file of the bundle knows it."""
    kind = manifest.input.name
    tensorrt = ["tensorrt"] if manifest.engines else []
    task = {"pipeline_tag": _PIPELINES[kind]} if manifest.classes or kind == "latents" else {}
    tags = ["onnx", *tensorrt, "spiking-neural-network", "neuromorphic", *_TAGS[kind]]
    found = {"library_name": LIBRARY, **task, "tags": tags}
    measured = _measured(manifest)
    if measured is None:
        return found
    result = {
        "task": {"type": _PIPELINES[kind]},
        # The Hub requires a type, which is the name of a data set there. Nothing is known but the user's file.
        "dataset": {
            "type": re.sub(r"[^0-9A-Za-z._-]+", "-", measured.data).strip("-.") or "data",
            "name": measured.data or "data",
        },
        "metrics": [
            {
                "type": "accuracy",
                "value": round(measured.right / measured.labelled, 6),
                "name": f"Accuracy of the exported network in {measured.backend}",
            }
        ],
    }
    return {**found, "metrics": ["accuracy"], "model-index": [{"name": manifest.network, "results": [result]}]}


def _yaml(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    """Yields the lines of a YAML block: mappings and lists in it are blocks, texts are in double quotes."""
    entries = value.items() if isinstance(value, Mapping) else [(None, each) for each in value]
    for key, entry in entries:
        head = "-" if key is None else f"{key}:"
        if not isinstance(entry, (Mapping, list)):
            yield f"{head} {_scalar(entry)}"
        elif key is None:
            first, *others = _yaml(entry)
            yield f"- {first}"
            yield from (f"  {line}" for line in others)
        else:
            yield head
            yield from (f"  {line}" for line in _yaml(entry))


def _scalar(value: str | float) -> str:
    r"""Returns a number or a text in YAML. The escapes of JSON, and those like \x85 and \U0001f600, are YAML's too."""
    if not isinstance(value, str):
        return repr(value)
    quoted = json.dumps(shown(value), ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def _summary(manifest: Manifest) -> str:
    layers = counted(len(manifest.layers), "spiking layer")
    steps = counted(manifest.time_steps, "time step")
    return (
        f"A spiking neural network with {layers}, {steps} and {counted(manifest.parameters, 'parameter')}, as ONNX "
        f"models{' and TensorRT engines' if manifest.engines else ''} in {plain(manifest.precision)}. It was exported "
        f"from {code(manifest.checkpoint['name'])} by {plain(manifest.producer)}.\n\n"
        f"**{plain(manifest.parity.verdict or 'Parity met.')}**"
    )


def _program(manifest: Manifest) -> str:
    contract = manifest.input
    shape = f"[N, {', '.join(map(str, contract.shape))}]"
    call = "predictions = net" if manifest.classes else "outputs = net.outputs"
    program = f"{call}({contract.name})  # float32 {shape}: {contract.values}"
    needs = ", and `onnxruntime` or the TensorRT version of the engine" if manifest.engines else " and `onnxruntime`"
    run = f"tcja-deploy run . {manifest.classifies}\n" if manifest.classifies else ""
    return (
        f"Install `{LIBRARY}`{needs}. Then, in this folder:\n\n"
        f'```python\nimport tcja_runtime as tcja\n\nnet = tcja.load(".")\n{program}\n```\n\n'
        f"```sh\n{run}tcja-deploy verify .\n```\n\n"
        "`verify` repeats the comparison below on your machine, without PyTorch. `tcja-deploy build BUNDLE`, with the "
        "path of this folder, adds a TensorRT engine for your GPU."
    )


def _contract(manifest: Manifest) -> list[tuple[str, str]]:
    contract = manifest.input
    shape = ", ".join(map(str, contract.shape))
    rows = [
        ("input", f"{code(contract.name)}, float32 \\[N, {shape}\\], axes {contract.axes}"),
        ("values", contract.values),
    ]
    if contract.rule:
        rows.append(("recordings are cut by", code(contract.rule)))
    if contract.polarity:
        rows.append(("polarities", f"P = 0: {contract.polarity[0]}, P = 1: {contract.polarity[1]}"))
    if contract.crop:
        rows.append(("part of the picture", "x {}, y {}, width {}, height {}".format(*contract.crop)))
    if contract.resize:
        source = f"from {contract.area[0]} x {contract.area[1]}, " if contract.name == "frames" else ""
        rows.append((f"{contract.name} are resized", f"{source}{contract.resize}"))
    rows.append(("output", f"{code(manifest.output)}, float32 \\[N, {', '.join(map(str, manifest.output_shape))}\\]"))
    if manifest.classes:
        rows.append(("classes", ", ".join(numbered(i, plain(name)) for i, name in enumerate(manifest.classes))))
    return rows


def _compared(manifest: Manifest) -> list[str]:
    parity = manifest.parity
    windows = f"{counted(parity.windows, 'window')}{f' ({plain(parity.source)})' if parity.source else ''}"
    found = [f"Each layer was compared spike by spike with {plain(parity.reference)}, on {windows}."]
    rows = []
    if parity.accuracy is not None:
        rows.append((plain(parity.reference), f"{100 * parity.accuracy:.2f} %"))
    measured = _measured(manifest)
    if measured is not None:
        share = f"{100 * measured.right / measured.labelled:.2f} %"
        rows.append((plain(measured.backend), f"{share} ({measured.right:,} of {measured.labelled:,} windows)"))
    return [*found, _table(["network", "accuracy"], rows)] if rows else found


def _unjudged(manifest: Manifest) -> list[str]:
    """Returns what the comparison does not show, a sentence or two each."""
    parity = manifest.parity
    general = (
        "Parity says that the exported network computes what the trained network computes. It does not say how good "
        "either is on other data."
    )
    return [*parity.cautions, *parity.left_out, *parity.not_run, general]


def _origin(manifest: Manifest) -> list[tuple[str, str]]:
    source = manifest.checkpoint
    return [
        ("checkpoint", f"{code(str(source['name']))}, {source['bytes']:,} bytes"),
        ("sha256 of the checkpoint", code(str(source["sha256"]))),
        ("created", plain(manifest.created)),
        ("made with", ", ".join(f"{plain(name)} {plain(version)}" for name, version in manifest.tools.items())),
    ]


def _measured(manifest: Manifest) -> _Measured | None:
    """Returns the accuracy of the exported network; None if no window of the export had a label."""
    for found in manifest.parity.backends:
        statistics = found.get("statistics") or {}
        right, labelled = statistics.get("right"), statistics.get("labelled")
        if type(right) is int and type(labelled) is int and 0 <= right <= labelled and labelled > 0:
            return _Measured(right, labelled, str(statistics.get("source", "")), str(found.get("backend", "")))
    return None


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown; the cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
