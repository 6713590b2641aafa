import os
import signal
import subprocess
import sys
import time

import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.staging import staged


def test_it_is_renamed_when_whole(tmp_path):
    with staged(tmp_path / "a.bundle") as staging:
        (staging / "file").write_text("x")
        assert not (tmp_path / "a.bundle").exists()
    assert os.listdir(tmp_path) == ["a.bundle"]


def test_an_existing_destination_is_left_alone(tmp_path):
    (tmp_path / "a.bundle").mkdir()
    with pytest.raises(BadInput, match="exists; choose another --out or remove it"), staged(tmp_path / "a.bundle"):
        pass
    assert os.listdir(tmp_path) == ["a.bundle"]


def test_parents_are_made_only_in_the_end(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), staged(tmp_path / "new" / "a.bundle") as staging:
        (staging / "file").write_text("x")
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == []
    with staged(tmp_path / "new" / "a.bundle") as staging:
        (staging / "file").write_text("x")
    assert (tmp_path / "new" / "a.bundle" / "file").read_text() == "x"


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_leaves_nothing(tmp_path, with_signal):
    code = (
        "import pathlib, sys, time\n"
        "from tcja_runtime.staging import staged\n"
        "with staged(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x')\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.bundle")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert len(os.listdir(tmp_path)) == 1
        process.send_signal(with_signal)
    deadline = time.monotonic() + 10
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert os.listdir(tmp_path) == []
