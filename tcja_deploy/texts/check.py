"""What an export would make of a network, as text."""

from __future__ import annotations

import collections

from rich.console import Group, RenderableType

from tcja_deploy.check.result import LARGEST_BUILT, Becomes, Checked, EngineFacts, ModelFacts, Module, NetworkFacts
from tcja_deploy.formatting import part, si
from tcja_deploy.texts.export import neurons
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import Rows, paragraph
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.counting import agree, counted, listed

_NAMED = (Becomes.JUDGED, Becomes.INTEGRATES, Becomes.ATTENTION, Becomes.FIRES, Becomes.REFUSED, Becomes.NEURON)
"""What has a row of its own without all details. Other modules are counted by their class."""
_CLASSES = 8
_WAY_OUT = (
    "A neuron that is refused is replaced by a known one, with which the network is trained again; or its class is "
    "registered, if tcja_runtime.neuron.NeuronSpec has its equations (docs/how-to/your-network.md)."
)


def checked_text(found: Checked, options: TextOptions = BRIEF) -> RenderableType:
    """Return the result of a check as text: the verdict, the reasons, the modules, and the facts of the models.

    Args:
        found: the result.
        options: how it is told.
    """
    lines = [verdict(found), *(f"  {options.worded(reason)}" for reason in found.refusals)]
    if any(module.becomes is Becomes.REFUSED for module in found.modules):
        lines.append(_WAY_OUT)
    parts: list[RenderableType] = [Group(*map(paragraph, lines))]
    facts = [*(_network(found.network, options) if found.network else []), *_models(found)]
    if facts:
        parts.append(Group(*(paragraph(options.worded(fact)) for fact in facts)))
    parts += _modules(found.modules, options)
    ends = [*found.remarks, *([_UNKNOWN, _NEXT] if found.accepted else [])]
    return Group(*parts, *(paragraph(options.worded(line)) for line in ends))


_UNKNOWN = "It is not known yet whether the exported network fires the same spikes: the export proves it."
_NEXT = "Next: export it with the same options"


def verdict(found: Checked) -> str:
    """Return the result of a check in a sentence."""
    if not found.accepted:
        return f"{found.subject} would not be exported, for {counted(len(found.refusals), 'reason')}:"
    judged = len(found.network.layers) if found.network else 0
    firing = judged + (len(found.models.unjudged) if found.models else 0)
    layers = counted(judged, "spiking layer") if judged == firing else part(judged, firing, "firing layer")
    n = len(found.network.integrators) if found.network else 0
    compared = f", and the membranes of {counted(n, 'integrator')} compared" if n else ""
    return f"{found.subject} can be exported: {layers} would be judged, spike by spike{compared}."


def _network(network: NetworkFacts, options: TextOptions) -> list[str]:
    contract = network.input
    return [
        f"{network.name} ({network.summary}): T = {network.time_steps}, "
        f"{contract.name} [N, {', '.join(map(str, contract.shape))}] -> "
        f"{network.output} [N, {', '.join(map(str, network.output_shape))}], "
        f"{counted(network.parameters, 'parameter')}",
        *([f"  classes: {listed(network.classes, 12)}"] if network.classes else []),
        *(
            f"  {line}"
            for i, line in enumerate(network.evidence)
            if i == 0 or options.details or line.startswith(CHECK)
        ),
        *neurons([*network.layers, *network.integrators]),
    ]


def _models(found: Checked) -> list[str]:
    """Return the facts of the models, a line or more each."""
    if found.models is None:
        return []
    models = found.models
    return [
        *_unjudged(models),
        _bounds(models),
        *([] if models.precision == "fp32" else [_precision(models)]),
        *_nodes(models),
        _memory(models),
        _engine(models.engine),
    ]


def _unjudged(models: ModelFacts) -> list[str]:
    n = len(models.unjudged)
    if not n:
        return []
    return [
        f"Not judged: {listed(models.unjudged)}. {agree(n, 'It fires, but is', 'They fire, but are')} not "
        f"{agree(n, 'a known neuron', 'known neurons')}; register {agree(n, 'its class', 'their classes')} "
        "(docs/how-to/your-network.md)."
    ]


def _bounds(models: ModelFacts) -> str:
    n = len(models.estimated)
    if not n:
        return "Rounding bounds: all are derived from the operations, none is an estimate"
    signals = listed(f"{signal} ({', '.join(operations)})" for signal, operations in models.estimated.items())
    return f"Rounding bounds: estimates for {counted(n, 'signal')}, as an operation has no rule for it: {signals}"


def _precision(models: ModelFacts) -> str:
    every = models.lowered + len(models.kept)
    kept = f"; in float32: {listed(models.kept)}" if models.kept else ""
    return f"{models.precision.upper()}: {part(models.lowered, every, 'weight')}{kept} (advised from few windows)"


def _nodes(models: ModelFacts) -> list[str]:
    others = [
        f"{n:,} as {form}" for form in TIME_FORMS if form != models.time_form and (n := models.forms.get(form, 0))
    ]
    whole = ", ".join(f"{file} {n:,}" for file, n in models.nodes.items())
    return [
        f"Nodes: {whole}",
        f"  {PLAIN_MODEL} has the time form {models.time_form} ({models.why})"
        + (f"; it would have {', '.join(others)}" if others else ""),
    ]


def _memory(models: ModelFacts) -> str:
    weights = "not known" if models.weight_bytes is None else f"{si(models.weight_bytes)}B"
    data = "not known" if models.activation_bytes is None else f"at most {si(models.activation_bytes)}B at a time"
    return f"Memory: weights {weights}; data of one window {data} (computed from the shapes)"


def _engine(engine: EngineFacts) -> str:
    if engine.layers is None and not engine.why:
        return f"Engine: {engine.target} refuses {PLAIN_MODEL}"
    if engine.layers is None:
        asked = "" if engine.target is None else f" of {engine.target}"
        return f"Engine: the parser{asked} was not asked: {engine.why}"
    size = (
        f"no more than the largest engine that was measured, of {LARGEST_BUILT:,} layers, which took seconds to build"
        if engine.layers <= LARGEST_BUILT
        else f"more than the {LARGEST_BUILT:,} of the largest engine that was measured, so the build may take long"
    )
    return f"Engine: {engine.target} parses {PLAIN_MODEL}: {counted(engine.layers, 'layer')}, {size}"


def _modules(modules: list[Module], options: TextOptions) -> list[RenderableType]:
    """Return a table of the modules, and lines that count those without a row by their class."""
    rows = [module for module in modules if options.details or module.becomes in _NAMED]
    counts: dict[Becomes, collections.Counter[str]] = {}
    for module in modules:
        if module not in rows:
            counts.setdefault(module.becomes, collections.Counter())[module.kind] += 1
    lines = [
        f"{becomes.value.capitalize()}: {listed((f'{n} {kind}' for kind, n in kinds.most_common()), _CLASSES)}"
        for becomes, kinds in counts.items()
    ]
    return [*([_table(rows)] if rows else []), *([Group(*map(paragraph, lines))] if lines else [])]


def _table(rows: list[Module]) -> Rows:
    nodes = any(row.nodes is not None for row in rows)
    table = Rows("Modules", ["module", "class", "becomes"], ["nodes"] if nodes else [])
    for row in rows:
        folded = row.becomes is Becomes.NOTHING and row.remark
        cells = [row.name or "(the network itself)", row.kind, row.remark if folded else row.becomes.value]
        table.add(*cells, *([f"{row.nodes:,}"] if row.nodes is not None else [""] if nodes else []))
    return table
