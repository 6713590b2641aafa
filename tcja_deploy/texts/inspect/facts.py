"""The facts of a file as text: what it is, what it computes, its layers, and its hashes at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.formatting import kernel_traffic, si, windows
from tcja_deploy.inspect.describe import Facts
from tcja_deploy.inspect.estimate import Estimate
from tcja_deploy.texts.inspect.estimate import estimate_text
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import Hanging, Rows, labelled, paragraph
from tcja_runtime import records
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.bundle.sidecar import KernelPlan
from tcja_runtime.counting import counted, listed
from tcja_runtime.data.contract import InputContract
from tcja_runtime.signing.signer import ONLY_SIGNED

_FEW = 12
"""The largest number of classes, tensors and operators that are named without details."""


_FEW_MODULES = 3
"""The largest number of modules of a kernel that are named without details."""


_SHORT = 80
"""The largest number of characters of a property of a model that is shown without details."""


def facts_text(facts: Facts, costs: Estimate | None = None, options: TextOptions = BRIEF) -> RenderableType:
    """Return the facts of a file as text, and the costs of its network on a board.

    Args:
        facts: the facts, from `tcja_deploy.inspect.describe.inspect`.
        costs: the costs; None for none.
        options: how they are told.
    """
    tell = {"bundle": _bundle, "checkpoint": _checkpoint, "nir": _graph, "onnx": _onnx}[facts["kind"]]
    estimated = [estimate_text(costs)] if costs else []
    more = [options.more] if options.more and not options.details else []
    parts = [*tell(facts, options), *estimated, *_hashes(facts), *more]
    return Group(*(paragraph(options.worded(part)) if isinstance(part, str) else part for part in parts))


_Parts = Iterator[str | RenderableType]


def _bundle(facts: Facts, options: TextOptions) -> _Parts:
    parity = facts["parity"]
    yield f"{facts['path']} is a bundle of {facts['producer']}, made from {_origin(facts)} on {facts['created']}."
    if parity["verdict"]:
        judged = f"{windows(parity['windows'])} ({parity['source']}), with {parity['reference']}"
        yield " ".join([parity["verdict"], *parity["cautions"], f"Compared spike by spike on {judged}."])
    yield f"The bundle is {facts['origin']['signature']}."
    if not facts["origin"]["signed"]:
        yield ONLY_SIGNED
    yield from _network(facts, options)
    engines = [
        (
            *(each["engine"], each["precision"], _batch(each["batch"]), f"{each['bytes']:,}"),
            *(each["origin"], each["runs_here"]),
        )
        for each in facts["engines"]
    ]
    if engines:
        yield _table("Engines", ["engine", "precision", "batch", "bytes", "origin", "runs here"], engines)
        for engine in facts["engines"]:
            yield from _kernels(engine, options)
    else:
        yield "No engine was built."
    if options.details:
        yield f"Time form: {facts['time_form']}"
        yield f"Stepwise: {facts['streaming']}"
        yield f"Made with: {', '.join(f'{name} {number}' for name, number in facts['tools'].items())}"
        yield f"Folders and label files tell classes by: {facts['labels'] or 'the rule that fits'}"
    yield _neurons(facts)


def _kernels(engine: Facts, options: TextOptions) -> _Parts:
    """Yield what the kernels of an engine move: a sentence, and the kernels that move most."""
    info = records.read(KernelPlan, engine["plan"]) if engine["plan"] else None
    yield f"Engine {engine['engine']}: {kernel_traffic(info, engine['batch'][1], engine['plan_unread'])}"
    if info is None:
        return
    rows = [
        (
            kernel.name if options.details or not kernel.modules else listed(kernel.modules, _FEW_MODULES),
            kernel.kind,
            f"{si(kernel.bytes)}B",
            f"{si(kernel.weight_bytes)}B",
        )
        for kernel in info.largest
    ]
    yield _table("The kernels that move most", ["kernel of", "type"], rows, ["data", "weights"])


def _hashes(facts: Facts) -> _Parts:
    """Yield the hashes of a file, of the files of a bundle, and of the checkpoint that it was made from."""
    if facts["kind"] == "bundle":
        files = [(each["file"], f"{each['bytes']:,}", each["sha256"]) for each in facts["files"]]
        source = facts["checkpoint"].rpartition(" (sha256 ")[2].removesuffix(")")
        yield _table("Files", ["file", "bytes", "sha256"], [*files, (_origin(facts), "", source)])
    for key, value in {**facts, **facts.get("metadata", {})}.items():
        if key.endswith("sha256") and value:
            yield f"{key.replace('_', ' ')} {value}"


def _origin(facts: Facts) -> str:
    name: str = facts["checkpoint"].rpartition(" (sha256 ")[0]
    return name


def _graph(facts: Facts, _options: TextOptions) -> _Parts:
    yield f"{facts['path']} is a NIR graph of {counted(len(facts['nodes']), 'node')}."
    if facts["unused"]:
        yield f"The output does not depend on: {listed(facts['unused'], _FEW)}"
    rows = [(each["node"], each["type"], each["from"], each["values"]) for each in facts["nodes"]]
    yield _table("Nodes, in the order in which they are computed", ["node", "type", "from", "values"], rows)
    yield "A NIR graph does not store who wrote it, its time step and its reset; `settings` says them in an export."


def _checkpoint(facts: Facts, options: TextOptions) -> _Parts:
    if facts["network"]:
        yield f"{facts['path']} is a checkpoint of {facts['network']}: {facts['summary']}."
        yield from _network(facts, options)
        yield _neurons(facts)
    else:
        yield f"{facts['path']} is a checkpoint. Its network is not known."
    if len(facts["sets_of_weights"]) > 1 or options.details:
        sets = [
            (each["weights"], each["taken"], f"{each['tensors']:,}", f"{each['values']:,}")
            for each in facts["sets_of_weights"]
        ]
        yield _table("Sets of weights", ["key", "taken"], sets, ["tensors", "values"])
    if facts["not_weights"]:
        yield f"Not weights: {'; '.join(facts['not_weights'])}"
    tensors = [(each["key"], each["shape"], each["type"].removeprefix("torch.")) for each in facts["tensors"]]
    yield from _first("Tensors", ["key", "shape", "type"], tensors, "tensor", options)


def _onnx(facts: Facts, options: TextOptions) -> _Parts:
    opsets = ", ".join(facts["opsets"])
    yield (
        f"{facts['path']} is an ONNX model of IR version {facts['ir_version']}, opsets {opsets}: "
        f"{counted(facts['nodes'], 'node')}."
    )
    for end in ("inputs", "outputs"):
        shaped = (f"{each['name']} [{each['shape']}]" for each in facts[end])
        yield f"{end.capitalize()}: {'; '.join(shaped)}"
    if facts["functions"]:
        yield f"Functions: {', '.join(facts['functions'])}"
    operators = [(each["operator"], f"{each['nodes']:,}") for each in facts["operators"]]
    yield from _first("Operators", ["operator"], operators, "operator", options, ["nodes"])
    told = [
        (key.replace("_", " "), value)
        for key, value in facts["metadata"].items()
        if value and not key.endswith("sha256") and (options.details or len(value) <= _SHORT)
    ]
    if told:
        yield Text("Metadata", style="bold")
        yield from labelled(told)


def _network(facts: Facts, options: TextOptions) -> Iterator[str | RenderableType]:
    """Yield lines on a network: what it takes and returns, and what the evidence is that it is this network."""
    precision = f", {facts['precision']}" if "precision" in facts else ""
    yield (
        f"Network: {facts['network']}, neurons of {facts['dialect']}, T = {facts['time_steps']}, "
        f"{counted(facts['parameters'], 'parameter')}{precision}"
    )
    yield input_line(records.read(InputContract, facts["input"]))
    sizes = f" [N, {', '.join(map(str, facts['output_shape']))}]" if "output_shape" in facts else ""
    yield f"Output: {facts['output']}{sizes}"
    if facts["classes"]:
        yield classes_line(facts["classes"], options)
    for line in facts["evidence"]:
        if line.startswith(CHECK):
            yield paragraph(options.worded(line), style="yellow")
        elif options.details:
            yield Hanging("  ", options.worded(line))


def input_line(contract: InputContract) -> str:
    """Return the axes and values of an input, and how recordings become frames, in a line."""
    cut = f"; recordings are cut by the rule {contract.rule}" if contract.rule else ""
    cut += f"; polarity 0 is {contract.polarity[0]}" if contract.polarity else ""
    cut += f", cropped to {','.join(map(str, contract.crop))} (x, y, width, height)" if contract.crop else ""
    cut += f", resized by {contract.resize}" if contract.resize else ""
    sizes = " x ".join(map(str, contract.shape))
    return f"Input: {contract.name} [{contract.axes}], a window is {sizes}; values: {contract.values}{cut}"


def classes_line(classes: Sequence[str], options: TextOptions) -> str:
    """Return the names of classes in the order of the output; without details, only the first few."""
    return f"{counted(len(classes), 'class')}: {listed(classes, len(classes) if options.details else _FEW)}"


def _neurons(facts: Facts) -> Rows:
    """Return a table of the spiking layers and integrators."""
    integrators = facts.get("integrators", [])
    rows = [tuple(each.values()) for each in (*facts["layers"], *integrators)]
    title = "Spiking layers and integrators" if integrators else "Spiking layers"
    return _table(title, ["layer", "neurons", "charge", "fires", "reset"], rows)


def _first(
    title: str,
    texts: list[str],
    rows: Sequence[tuple[str, ...]],
    noun: str,
    options: TextOptions,
    numbers: Iterable[str] = (),
) -> _Parts:
    """Yield a table of all rows, or without details of the first few, and the number of the others."""
    most = len(rows) if options.details else _FEW
    yield _table(title, texts, rows[:most], numbers)
    if len(rows) > most:
        yield f"{counted(len(rows) - most, noun)} more."


def _table(title: str, texts: list[str], rows: Sequence[tuple[Any, ...]], numbers: Iterable[str] = ()) -> Rows:
    made = Rows(title, texts, list(numbers))
    for row in rows:
        made.add(*map(str, row))
    return made


def _batch(sizes: tuple[int, ...]) -> str:
    """Return the batch sizes of an engine as `batch` takes them, such as 1:1:8."""
    return ":".join(map(str, sizes))
