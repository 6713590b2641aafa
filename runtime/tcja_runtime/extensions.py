"""Extensions: installed packages that add neurons, networks or event formats to tcja-deploy, by their entry points.

    group                       name of an entry point                    the object that it names
    tcja_deploy.neurons         the full name of the neuron's class       the `constants` of `register`
    tcja_deploy.networks        the name of the network                   a `Network` of that name
    tcja_deploy.event_formats   the format, and the suffix of its files   a `Format` of that name

An extension is loaded when its name is needed, not before: a neuron when a network has a module of its class, a format
when a file has its suffix. So an extension that fails stops only what would use it.

Source: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import sys
from collections.abc import Collection
from typing import Any

from tcja_runtime.counting import an
from tcja_runtime.errors import BadInput, Unavailable, first_line

GROUPS = {
    "neuron": "tcja_deploy.neurons",
    "network": "tcja_deploy.networks",
    "event format": "tcja_deploy.event_formats",
}
"""The group of entry points for each kind of thing that an extension can add."""


@dataclasses.dataclass(frozen=True)
class Extension:
    """A thing that an installed package adds.

    Attributes:
        kind: what it is, a key of `GROUPS`.
        name: the name of the entry point.
        package: the name of the package.
        version: its version.
        entry: the entry point.
    """

    kind: str
    name: str
    package: str
    version: str
    entry: importlib.metadata.EntryPoint

    def __str__(self) -> str:
        return f"the extension {self.package} {self.version} (entry point {GROUPS[self.kind]}: {self.name})"

    def load(self, *wanted: Any) -> Any:
        """Import and return the object that the entry point names.

        Args:
            wanted: the classes; the object must be an instance of one of them.

        Raises:
            Unavailable: the import fails, or the object is something else.
        """
        try:
            made = self.entry.load()
        except Exception as error:  # code of other people can fail in any way
            why = f"{type(error).__name__}: {first_line(error)}"
            raise Unavailable(f"{self} does not load: {why}; mend or uninstall it") from error
        if not isinstance(made, wanted):
            classes = " or ".join(each.__name__ for each in wanted)
            raise Unavailable(f"{self} is {an(type(made).__name__)}, and must be {an(classes)}; mend or uninstall it")
        return made


def installed(kind: str) -> list[Extension]:
    """Returns what the installed packages add, by name; two packages may add the same name.

    Args:
        kind: a key of `GROUPS`.
    """
    return list(_installed(kind, tuple(sys.path)))


@functools.lru_cache
def _installed(kind: str, _: tuple[str, ...]) -> tuple[Extension, ...]:
    """Return the extensions of a kind, which are read again if the paths of packages have changed."""
    found = importlib.metadata.entry_points(group=GROUPS[kind])
    known = [(entry, entry.dist) for entry in found]
    return tuple(
        sorted(
            (Extension(kind, entry.name, of.name, of.version, entry) for entry, of in known if of is not None),
            key=lambda each: (each.name, each.package),
        )
    )


def find(kind: str, name: str, ours: Collection[str] = ()) -> Extension | None:
    """Returns the extension that adds a name; None if there is none.

    Args:
        kind: a key of `GROUPS`.
        name: the name.
        ours: the names that tcja-deploy has itself.

    Raises:
        BadInput: several packages add the name, or tcja-deploy has it itself.
    """
    found = [each for each in installed(kind) if each.name == name]
    if len(found) > 1:
        packages = " and ".join(f"{each.package} {each.version}" for each in found)
        raise BadInput(f"the packages {packages} both add the {kind} {name}; uninstall one of them")
    if found and name in ours:
        raise BadInput(f"{found[0]} adds the {kind} {name}, which tcja-deploy has itself; uninstall it")
    return found[0] if found else None
