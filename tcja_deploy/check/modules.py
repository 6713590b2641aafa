"""What each module of a network becomes in an export."""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Mapping, Set

from torch import nn

from tcja_deploy.check.result import Becomes, Module
from tcja_deploy.export.models import Prepared
from tcja_deploy.export.network import Known
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.modules import attention
from tcja_exporters.modules.neurons import all_neurons
from tcja_exporters.user_models.conversion import neurons
from tcja_exporters.user_models.wrappers import unwrap_parts


def modules(known: Known, prepared: Prepared | None, reasons: Mapping[str, str]) -> list[Module]:
    """Return the modules of a network that do something, and the neurons and the modules that are refused.

    A module that only holds others is left out. An attention block of the registry, and a neuron, stand for all that is
    in them. The module that an export adds to a user's network, the mean over time, comes last.

    Args:
        known: what is known of the network.
        prepared: its models; None if the export would stop before.
        reasons: the reasons why it stops, by the module that is refused, as far as they are about modules.
    """
    tree = _tree(known)
    if tree is None:
        return []
    found = _Rows.of(tree, prepared, reasons)
    rows: list[Module] = []
    whole: tuple[str, ...] = ()
    for name, module in tree.named_modules(remove_duplicate=False):
        if name.startswith(whole):
            continue
        row, closed = found.row(name, module)
        if closed:
            whole = (*whole, f"{name}.")
        rows += [] if row is None else [row]
    return rows + found.added(known.trained, [*whole, *(f"{row.name}/" for row in rows)])


def _tree(known: Known) -> nn.Module | None:
    """Return the network as the user wrote it, without torch's wrappers of its parts; None if it is not known."""
    if known.original is None:
        return None if known.trained is None else known.trained.model
    try:
        copied = copy.deepcopy(known.original)
        unwrap_parts(copied)
    except Exception:  # the export stops there, too, and says why
        return known.original
    return copied


def _nearest(node: str, names: Set[str]) -> str:
    """Return the module of a node: MODULE/OPERATOR, or PARAMETER/OPERATOR of one that casts or scales a weight."""
    name = node.rpartition("/")[0]
    while name not in names:
        name = name.rpartition(".")[0]
    return name


@dataclasses.dataclass(frozen=True)
class _Models:
    """What the models of an export have of each module.

    Attributes:
        nodes: the number of nodes of model.onnx.
        judged: the judged spiking layers.
        integrators: the layers that never fire, and whose membranes are compared.
        firing: the modules that fire, and are not judged.
        folded: for each batch norm that was folded, the module that it was folded into.
    """

    nodes: collections.Counter[str]
    judged: Set[str]
    integrators: Set[str]
    firing: Set[str]
    folded: Mapping[str, str]

    @classmethod
    def of(cls, prepared: Prepared) -> _Models:
        signature, exported = prepared.network.signature, prepared.network.lowered.exported
        names = {name for name, _ in prepared.network.trained.model.named_modules()}
        return cls(
            nodes=collections.Counter(_nearest(node.name, names) for node in exported.model.graph.node),
            judged={layer.name for layer in signature.layers},
            integrators={layer.name for layer in signature.integrators},
            firing={layer.name for layer in signature.unjudged},
            folded={weight.norm: weight.module for weight in signature.weights if weight.norm},
        )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Makes the rows of a network's modules.

    Attributes:
        refused: the reasons why the export stops, by the module that is refused.
        neurons: the equations of each known neuron, by its name.
        attention: the attention blocks of the registry.
        models: what the models have of each module; None if the export would stop before.
    """

    refused: Mapping[str, str]
    neurons: Mapping[str, str]
    attention: Set[str]
    models: _Models | None

    @classmethod
    def of(cls, tree: nn.Module, prepared: Prepared | None, reasons: Mapping[str, str]) -> _Rows:
        """Return what makes the rows.

        Args:
            tree: the network as the user wrote it, or as the registry builds it.
            prepared: its models; None if the export would stop before.
            reasons: the reasons why it stops, by the module that is refused.
        """
        found, refused = neurons(tree)
        specs = {name: neuron.spec for name, neuron in found.items()}
        specs |= {name: neuron.spec for name, neuron in all_neurons(tree).items()}
        return cls(
            refused={**{name: str(error) for name, error in refused.items()}, **reasons},
            neurons={name: spec.rules for name, spec in specs.items()},
            attention={name.rpartition(".")[0] for name in attention.parts(tree)},
            models=None if prepared is None else _Models.of(prepared),
        )

    def row(self, name: str, module: nn.Module) -> tuple[Module | None, bool]:
        """Return the row of a module, and whether it stands for all that is in the module.

        The row is None if the module only holds others.
        """
        kind, rules = type(module).__name__, self.neurons.get(name, "")
        leaf = next(module.children(), None) is None
        if name in self.refused:
            return Module(name=name, kind=kind, becomes=Becomes.REFUSED, remark=self.refused[name]), True
        if self.models is not None:
            return self._exported(name, kind, leaf, self.models)
        if rules:
            return Module(name=name, kind=kind, becomes=Becomes.NEURON, remark=rules), True
        return (Module(name=name, kind=kind, becomes=Becomes.NOT_REACHED) if leaf else None), False

    def _exported(self, name: str, kind: str, leaf: bool, models: _Models) -> tuple[Module | None, bool]:
        """Return the same for a network whose models are known."""
        rules, nodes = self.neurons.get(name, ""), models.nodes
        inside = sum(n for module, n in nodes.items() if module == name or module.startswith(f"{name}."))
        for layers, becomes in ((models.judged, Becomes.JUDGED), (models.integrators, Becomes.INTEGRATES)):
            # A neuron may become several layers, inside of its module.
            if rules and any(f"{layer}.".startswith(f"{name}.") for layer in layers):
                return Module(name=name, kind=kind, becomes=becomes, nodes=inside, remark=rules), True
        if name in self.attention:
            return Module(name=name, kind=kind, becomes=Becomes.ATTENTION, nodes=inside), True
        if nodes[name]:
            becomes = Becomes.FIRES if name in models.firing else Becomes.OPERATORS
            return Module(name=name, kind=kind, becomes=becomes, nodes=nodes[name]), False
        if not (leaf or rules):
            return None, False
        remark = f"folded into {models.folded[name]}" if name in models.folded else ""
        return Module(name=name, kind=kind, becomes=Becomes.NOTHING, nodes=0, remark=remark), bool(rules)

    def added(self, trained: TrainedNetwork | None, told: list[str]) -> list[Module]:
        """Return the modules that have nodes and are not in the network as the user wrote it.

        Args:
            trained: the trained network, which has them.
            told: the begins of the names of all nodes that belong to other modules.
        """
        if trained is None or self.models is None:
            return []
        modules, nodes = dict(trained.model.named_modules()), self.models.nodes
        return [
            Module(
                name=name,
                kind=type(modules[name]).__name__,
                becomes=Becomes.OPERATORS,
                nodes=nodes[name],
                remark="the export adds it to the network",
            )
            for name in nodes
            if not f"{name}/".startswith(tuple(told))
        ]
