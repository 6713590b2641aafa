"""Models are read from a folder with their weights, and from a file that has none beside it."""

import pytest

from tcja_runtime.files.folder import Folder, model_in, read_model


def test_a_model_is_read_with_its_weights(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"model")
    (tmp_path / "weights.bin").write_bytes(b"weights")
    read = read_model(Folder(tmp_path), "a.onnx")
    assert (read.path, read.content, read.weights) == (tmp_path / "a.onnx", b"model", b"weights")
    assert model_in(tmp_path / "a.onnx") == read


def test_a_model_in_a_file_may_have_no_weights_beside_it(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"model")
    assert model_in(tmp_path / "a.onnx").weights == b""
    with pytest.raises(FileNotFoundError):
        read_model(Folder(tmp_path), "a.onnx")
