"""The registry of the networks whose checkpoints are recognised.

Every module of this package that holds a NETWORK adds it to the registry. So does every installed package with an entry
point (`tcja_runtime.extensions`) whose name is that of the network.
"""

from __future__ import annotations

import importlib
import pkgutil

from tcja_exporters.networks.base import AnyNetwork, Network
from tcja_runtime import extensions
from tcja_runtime.errors import TcjaError, Unavailable, check_choice
from tcja_runtime.extensions import Extension

_KIND = "network"
_MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]

NETWORKS: dict[str, AnyNetwork] = {
    module.NETWORK.name: module.NETWORK for module in _MODULES if hasattr(module, "NETWORK")
}
"""The networks of tcja-deploy, by name."""


def named(name: str) -> AnyNetwork:
    """Return a network by its name. A network of an extension is imported.

    Raises:
        BadInput: there is no network of that name, or several packages add it.
        Unavailable: the extension that adds the network does not load.
    """
    extension = extension_of(name)
    if extension is None:
        check_choice("network", name, (*NETWORKS, *(each.name for each in extensions.installed(_KIND))))
        return NETWORKS[name]
    return _loaded(extension)


def extension_of(name: str) -> Extension | None:
    """Return the extension that adds a network; None if there is none of that name.

    Raises:
        BadInput: several packages add the network.
    """
    return None if name in NETWORKS else extensions.find(_KIND, name)


def all_networks() -> tuple[list[AnyNetwork], list[str]]:
    """Return all networks; and a line for each network of an extension that cannot be used."""
    found, lines = list(NETWORKS.values()), []
    for name in dict.fromkeys(each.name for each in extensions.installed(_KIND)):
        try:
            extension = extensions.find(_KIND, name, tuple(NETWORKS))
            found += [_loaded(extension)] if extension else []
        except TcjaError as error:
            lines.append(f"not compared with the network {name} of an extension: {error}")
    return found, lines


def _loaded(extension: Extension) -> AnyNetwork:
    """Return the network of an extension.

    Raises:
        Unavailable: the extension does not load.
    """
    network: AnyNetwork = extension.load(Network)
    if network.name != extension.name:
        raise Unavailable(f"{extension} is the network {network.name}, and must have the name of its entry point")
    return network
