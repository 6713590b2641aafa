"""The registry of networks whose checkpoints are recognised: every module of this package that has a NETWORK."""

from __future__ import annotations

import importlib
import pkgutil

from tcja_exporters.networks.base import AnyNetwork

_MODULES = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]

NETWORKS: dict[str, AnyNetwork] = {
    module.NETWORK.name: module.NETWORK for module in _MODULES if hasattr(module, "NETWORK")
}
