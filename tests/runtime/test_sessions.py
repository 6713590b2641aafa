import sys

import pytest

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.sessions import onnxruntime as sessions


def distribution(folder, name: str) -> None:
    """Make a distribution look installed, the way an installer does."""
    info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")


def test_both_runtimes_at_once_are_refused(tmp_path, monkeypatch):
    distribution(tmp_path, "onnxruntime")
    distribution(tmp_path, "onnxruntime-gpu")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(sessions.installed()) == {"onnxruntime", "onnxruntime-gpu"}
    with pytest.raises(Unavailable, match="pip uninstall onnxruntime onnxruntime-gpu"):
        sessions.require()


def test_a_missing_runtime_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Unavailable, match="pip install onnxruntime"):
        sessions.require()


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BadInput, match=r"ONNX Runtime cannot load .*model.onnx: "):
        sessions.OnnxRuntimeSession(tmp_path / "model.onnx")
