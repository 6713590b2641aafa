"""Builds networks of SpikingJelly with the backend torch, whatever backend their code names.

Published code names the backend "cupy" in its factories, and SpikingJelly raises an error where CuPy is not installed:
while the factory runs, before anything could change the backend of a neuron. So, while a factory runs, a neuron that is
given one of the backends `OTHERS` gets "torch". No module of SpikingJelly is imported here: those are changed that the
user's code has imported, and all changes are undone at the end.

Source: SpikingJelly 0.0.0.0.14, ``activation_based/base.py`` (MemoryModule.backend, check_backend_library) and
``clock_driven/neuron.py`` (BaseNode, check_backend). SpikingJelly 2.0 has no backends.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import nn

from tcja_runtime.counting import agree, counted, listed

OTHERS = ("cupy", "triton", "inductor")
"""The backends that need a GPU or a compiler. The backend "lava" is no backend of the same neuron."""

_WINDOWS, _CLOCKED = "spikingjelly.activation_based.base", "spikingjelly.clock_driven.neuron"
_SHOWN = 3  # the number of names in a line
_MISSING = "CuPy is not installed"  # of SpikingJelly's errors
Made = TypeVar("Made")


class TorchBackends:
    """The neurons of SpikingJelly that were given another backend, and got torch, while `torch_backends` held."""

    def __init__(self) -> None:
        self._changed: dict[int, nn.Module] = {}
        self._patched: dict[str, Callable[[], None]] = {}

    def run(self, call: Callable[[], Made]) -> Made:
        """Return what a function returns. It is called again if it imported SpikingJelly, which then missed CuPy."""
        self._patch()
        try:
            return call()
        except (ImportError, AssertionError) as error:
            if _MISSING not in str(error) or not self._patch():
                raise
        return call()

    def lines(self, network: nn.Module) -> list[str]:
        """Return a line on the neurons of a network that got torch; none if there are none."""
        return _lines([name for name, module in network.named_modules() if id(module) in self._changed])

    def undo(self) -> None:
        """Undo all changes of SpikingJelly's modules."""
        for restore in self._patched.values():
            restore()
        self._patched.clear()

    def _patch(self) -> bool:
        """Change the modules of SpikingJelly that are imported and were not changed yet; return whether there were."""
        before = len(self._patched)
        for name, patch in ((_WINDOWS, self._patch_windows), (_CLOCKED, self._patch_clocked)):
            if name in sys.modules and name not in self._patched:
                self._patched[name] = patch(sys.modules[name])
        return len(self._patched) > before

    def _patch_windows(self, base: Any) -> Callable[[], None]:
        """Change the property `backend` of activation_based; return a function that undoes it."""
        kind = getattr(base, "MemoryModule", None)
        own = vars(kind).get("backend") if isinstance(kind, type) else None
        if not isinstance(own, property) or own.fset is None:
            return _nothing
        setter = own.fset
        kind.backend = property(own.fget, lambda node, value: setter(node, self._torch(node, value)))  # type: ignore[union-attr]
        return lambda: setattr(kind, "backend", own)

    def _patch_clocked(self, neuron: Any) -> Callable[[], None]:
        """Change the check and the attribute `backend` of clock_driven; return a function that undoes it."""
        kind, check = getattr(neuron, "BaseNode", None), getattr(neuron, "check_backend", None)
        if not isinstance(kind, type) or check is None or "backend" in vars(kind):
            return _nothing

        def stored(node: nn.Module) -> Any:
            return vars(node)["backend"]

        def store(node: nn.Module, value: str) -> None:
            vars(node)["backend"] = self._torch(node, value)

        kind.backend = property(stored, store)  # type: ignore[attr-defined]
        neuron.check_backend = lambda backend: check("torch" if backend in OTHERS else backend)

        def restore() -> None:
            del kind.backend  # type: ignore[attr-defined]
            neuron.check_backend = check

        return restore

    def _torch(self, node: nn.Module, backend: str) -> str:
        if backend not in OTHERS:
            return backend
        self._changed[id(node)] = node
        return "torch"


def _nothing() -> None:
    """Undo nothing."""


@contextlib.contextmanager
def torch_backends() -> Iterator[TorchBackends]:
    """Give neurons of SpikingJelly the backend torch while a user's code runs (`TorchBackends.run`)."""
    backends = TorchBackends()
    try:
        yield backends
    finally:
        backends.undo()


def lines(network: nn.Module) -> list[str]:
    """Return a line on the neurons of a network that have a backend for GPUs, and get torch when they are reset."""
    named = network.named_modules()
    return _lines([name for name, module in named if getattr(module, "backend", None) in OTHERS])


def _lines(names: list[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{counted(len(names), 'neuron')} of SpikingJelly {agree(len(names), 'has', 'have')} a backend for GPUs in the "
        f"code; the export computes with its backend torch: {listed(names, _SHOWN)}"
    ]


def hint(error: BaseException) -> str:
    """Return what to change in code that names a backend, which SpikingJelly 2 refuses; empty for other errors."""
    if "spikingjelly" not in sys.modules or not isinstance(error, (TypeError, AttributeError)):
        return ""
    if "argument 'backend'" not in str(error) and "'set_backend'" not in str(error):
        return ""
    return (
        "; SpikingJelly 2 has no backends: leave `backend` and set_backend out, or install the release that the code "
        "was written for (pip install spikingjelly==0.0.0.0.14)"
    )
