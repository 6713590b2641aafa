"""The networks whose checkpoints are recognised."""

from __future__ import annotations

from tcja_exporters.networks.dvs128 import Dvs128
from tcja_exporters.networks.fashion_mnist import FashionMnist
from tcja_exporters.networks.network import AnyNetwork

NETWORKS: dict[str, AnyNetwork] = {network.name: network for network in (Dvs128(), FashionMnist())}
