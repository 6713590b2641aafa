"""Captures a torch module as a program of torch.export, from which `torch.onnx` makes a model.

torch.export puts the operations under some contexts (no_grad, set_grad_enabled, autocast) into programs of their own,
and torch.onnx forgets the modules of these operations. The contexts do not change what a network computes in float32,
so their operations are moved back into the main program.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from tcja_exporters.user_code import kind_and_line, where, where_traced
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

_CONTEXTS = ("wrap_with_set_grad_enabled", "wrap_with_autocast", "tag_activation_checkpoint")
"""The operators of torch.export that run a program in a context."""
_HALVES = (torch.float16, torch.bfloat16)


def capture(network: nn.Module, contract: InputContract) -> torch.export.ExportedProgram:
    """Return a network as a program for batches of any size.

    Args:
        network: the network, which takes a batch [N, *contract.shape].
        contract: the contract of the network's input.

    Raises:
        BadInput: the network looks at the values of tensors, fixes the size of the batch, computes in half precision,
            or cannot be captured for another reason.
    """
    # Two windows, because the exporter would make a batch size of one a constant. A named Dim would have it prove that
    # nothing fixes the size, which it cannot of a view behind SpikingJelly's Flatten(step_mode="m").
    example = (torch.zeros(2, *contract.shape),)
    with explained("torch.export"):
        program = torch.export.export(network, example, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)
    _inline(program.graph_module, program)
    _refuse_halves(program.graph_module)
    return program


@contextlib.contextmanager
def explained(exporter: str) -> Iterator[None]:
    """In this context, an error becomes a `BadInput` of one line, with the innermost cause and the user's line.

    Args:
        exporter: the name of the program that fails, for the message.
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # a user's code can fail in any way, and so can the exporter on it
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        text = str(cause)
        if "data-dependent" in text:
            raise BadInput(looks_at_values(cause)) from error
        if "Constraints violated" in text:
            raise BadInput(f"the network fixes the batch size{where(error)}; take it from the input's shape") from error
        pooling = re.search(r"No ONNX function found.*(adaptive_max_pool\dd)", text)
        if pooling:
            raise BadInput(
                f"torch {torch.__version__} cannot export {pooling[1]}{where(error)}; torch does from 2.12 on, where "
                "the size of the result divides that of the input. For a result of size 1, x.amax(..., keepdim=True) "
                "computes the same, and every torch exports it"
            ) from error
        raise BadInput(f"{exporter} cannot export the network: {kind_and_line(cause)}{where(error)}") from error


def looks_at_values(error: BaseException) -> str:
    """Return the message for a network whose forward looks at the values of tensors."""
    return (
        f"the network's forward looks at the values of tensors{where(error)}, which cannot be exported "
        f"({kind_and_line(error)}); replace if by torch.where, and leave out assert, .item(), .tolist() and .numpy()"
    )


def _inline(module: fx.GraphModule, program: torch.export.ExportedProgram | None) -> None:
    """Move the operations under contexts into the graph of a module, in place.

    Args:
        module: the module.
        program: the program whose main graph is that of the module; None for a graph inside another one.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or getattr(node.target, "__name__", "") not in _CONTEXTS:
            continue
        at = next(i for i, arg in enumerate(node.args) if isinstance(arg, fx.Node) and arg.op == "get_attr")
        held, inputs = node.args[at], node.args[at + 1 :]
        body = getattr(module, held.target)
        _inline(body, None)
        for inner in body.graph.nodes:
            if inner.op == "get_attr":  # a program for a loop or a branch
                name = f"{held.target}_{inner.target}"
                setattr(module, name, getattr(body, inner.target))
                inner.target = name
        places = [inner for inner in body.graph.nodes if inner.op == "placeholder"]
        with graph.inserting_before(node):
            results: Any = graph.graph_copy(body.graph, dict(zip(places, inputs, strict=True)))
        _use(node, results, program)
        if not held.users:
            graph.erase_node(held)
    graph.lint()
    module.recompile()


def _use(node: fx.Node, results: Any, program: torch.export.ExportedProgram | None) -> None:
    """Replace the results of an operator that runs a program in a context by those of the operations themselves."""
    several = isinstance(results, (tuple, list))
    pairs: list[Any] = [(user, results[cast("int", user.args[1])]) for user in list(node.users)] if several else []
    for old, new in pairs or [(node, results)]:
        if not isinstance(new, fx.Node):
            continue
        old.replace_all_uses_with(new)
        if program is not None:
            program.graph_signature.replace_all_uses(old.name, new.name)
    for old, _ in pairs:
        node.graph.erase_node(old)
    node.graph.erase_node(node)


def _refuse_halves(module: fx.GraphModule) -> None:
    """Check that no operation of a program computes in half precision.

    Raises:
        BadInput: an operation does.
    """
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.dtype in _HALVES:
            kind = str(value.dtype).removeprefix("torch.")
            raise BadInput(
                f"forward computes in {kind}{where_traced(node.meta.get('stack_trace') or '')}, not in float32 as the "
                "exported network; remove autocast, .half() and .bfloat16() from it, and lower the precision with "
                "`precision`"
            )
