"""The registry of the networks whose checkpoints are recognised.

Every module of this package that holds a NETWORK adds it to the registry.
"""

from __future__ import annotations

import importlib
import pkgutil

from tcja_exporters.networks.base import AnyNetwork

_MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]

NETWORKS: dict[str, AnyNetwork] = {
    module.NETWORK.name: module.NETWORK for module in _MODULES if hasattr(module, "NETWORK")
}
"""The registered networks, by name."""
