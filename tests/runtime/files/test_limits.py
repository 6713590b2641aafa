import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.files import limits
from tcja_runtime.files.limits import Limit


def test_a_file_up_to_the_limit_is_read_and_a_larger_one_is_not(tmp_path):
    limit = Limit("a thing", 1000)
    limit.check(1000, tmp_path / "a")
    with pytest.raises(BadInput, match=r"/a has 1,001 bytes, and a thing has at most 1,000$"):
        limit.check(1001, tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("manifest.json", limits.MANIFEST),
        ("parity.json", limits.FIGURES),
        ("engines/x/engine.json", limits.SIDECAR),
        ("engines/x/model.engine", limits.ENGINE),
        ("model.plain.onnx", limits.MODEL),
        ("weights.bin", limits.WEIGHTS),
        ("golden.npz", limits.GOLDEN),
        ("report.html", limits.PAGE),
        ("README.md", limits.PAGE),
        ("engines/x/build.log", limits.PAGE),
    ],
)
def test_each_file_of_a_bundle_has_a_limit(name, limit):
    assert limits.in_bundle(name) == limit
