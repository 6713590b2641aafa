"""`package triton`, on a real server: whole windows in Triton's Python backend."""

from __future__ import annotations

import numpy as np
import pytest

import tcja_runtime

from ... import networks
from ...servers import serving

pytestmark = pytest.mark.releases


@pytest.fixture(scope="module")
def bundles(_bundles):
    return {name: _bundles[name] for name in networks.SMALL}


@pytest.fixture(scope="module")
def repository(bundles, tmp_path_factory):
    from tcja_deploy.cli import app

    folder = tmp_path_factory.mktemp("repository") / "models"
    for name, bundle in bundles.items():
        assert app.run(["package", "triton", str(bundle), str(folder), "--delay", "50ms"]) == 0, name
    return folder


@pytest.fixture(scope="module")
def server(repository, tmp_path_factory):
    with serving(repository, tmp_path_factory.mktemp("server"), ["fashion_mnist", "dvs128"]) as server:
        yield server


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_answers(server, bundles, protocol):
    import tritonclient.grpc
    import tritonclient.http

    module = getattr(tritonclient, protocol)
    client = getattr(server, protocol)()
    for name, bundle in bundles.items():
        windows = networks.SMALL[name].inputs(3, seed=3).numpy()
        with tcja_runtime.load(bundle) as net:
            found = net(windows)
        given = module.InferInput(net.info.input.name, list(windows.shape), "FP32")
        given.set_data_from_numpy(windows)
        answer = client.infer(name, [given])
        assert np.array_equal(answer.as_numpy(net.info.output), found.scores)
    client.close()
