from __future__ import annotations

import shutil

import pytest

from tcja_deploy.cluster.shared import SharedBundle
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.signing.trust import Trust

from ...described import described

pytestmark = pytest.mark.slow  # `test_cluster.py` has one of them, too


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture
def sent(bundle) -> SharedBundle:
    return SharedBundle.of(Bundle.open(bundle), Trust(), "auto")


def test_the_same_bundle_is_opened(sent, bundle):
    assert sent.device == "cpu"  # it has no engines
    assert sent.opened().manifest == Bundle.open(bundle).manifest
    assert SharedBundle.of(Bundle.open(bundle), Trust(), "onnxruntime-cuda").device == "gpu"


def test_another_one_at_the_path_is_refused(sent, bundle):
    described(bundle, classes=[f"other {at}" for at in range(10)])
    with pytest.raises(Unavailable, match=r"is not the bundle that this command opened: it was changed, or it is not"):
        sent.opened()


def test_a_changed_or_missing_one_is_refused(sent, bundle):
    (bundle / "weights.bin").write_bytes(bytes(10))
    with pytest.raises(BadInput, match=r"weights\.bin has 10 bytes"):
        sent.opened()
    shutil.rmtree(bundle)
    with pytest.raises(Unavailable, match="must be on a disk that all machines of the cluster share"):
        sent.opened()
