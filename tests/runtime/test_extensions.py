"""What another package adds: its event format is read without torch, and it is imported only when it is needed."""

import subprocess
import sys

import numpy as np
import pytest

from tcja_runtime import extensions
from tcja_runtime.data import class_folders
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.events import byte_source, recording, suffixes
from tcja_runtime.events.formats import registry

RECORD = np.dtype([("t", "<u4"), ("x", "u1"), ("y", "u1"), ("p", "u1"), ("unused", "u1")])


@pytest.fixture
def file(tmp_path):
    """A recording of 50 events, in a folder with a file of another suffix."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note.txt").write_text("no data")
    events = np.zeros(50, RECORD)
    events["t"], events["x"], events["p"] = range(0, 5000, 100), 3, 1
    (tmp_path / "data" / "a.blk").write_bytes(events.tobytes())
    return tmp_path / "data" / "a.blk"


def test_its_recordings_are_read_as_files_in_folders_and_as_streams(install, file):
    with pytest.raises(BadInput, match="its format is not known"):
        recording(file)
    install()
    assert "blk" in registry.names()
    assert ".blk" in suffixes()
    assert class_folders.data_files(file.parent).files == [file]
    assert "blink" not in sys.modules
    found = recording(file)
    (events,) = found.chunks()
    assert (found.format, found.sensor, events.t.tolist()) == ("blk", (4, 4), list(range(0, 5000, 100)))
    assert len(byte_source.new_decoder("blk").feed(file.read_bytes())) == 50
    assert "blink.network" not in sys.modules


def test_it_needs_no_torch(install, file):
    install()
    code = f"import sys\nsys.path[:0] = {[sys.path[0]]!r}\nsys.modules['torch'] = None\n"
    code += f"from tcja_runtime.events import recording\nprint(sum(map(len, recording({str(file)!r}).chunks())))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "50\n"


FORMATS = "tcja_deploy.event_formats"


ABSENT = "does not load: ModuleNotFoundError: No module named 'blink.no'; mend or uninstall it"


@pytest.mark.parametrize(
    ("name", "place", "error", "said"),
    [
        pytest.param("blk", "blink.no:BLK", Unavailable, f"{FORMATS}: blk) {ABSENT}", id="a missing module"),
        pytest.param("blk", "blink.recordings:Blk", Unavailable, "is a type, and must be a Format", id="a class"),
        pytest.param("xyz", "blink.recordings:BLK", Unavailable, "must be xyz of files .xyz", id="another name"),
        pytest.param("raw", "blink.recordings:BLK", BadInput, "which tcja-deploy has itself", id="a suffix of ours"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line_when_it_is_needed(install, name, place, error, said):
    install({FORMATS: {name: place}})
    with pytest.raises(error, match=r"^the extension blink 0\.3 ") as raised:
        registry.named(name)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert registry.named("dat").name == "dat"


def test_our_formats_are_read_though_an_extension_has_their_names(install, tmp_path):
    install({FORMATS: {"bin": "blink.recordings:BLK", "atis": "blink.recordings:BLK"}})
    (tmp_path / "a.bin").write_bytes(bytes(5))
    assert recording(tmp_path / "a.bin").format == "atis"


def test_a_name_of_two_packages_is_refused(install):
    install()
    install(package="wink")
    said = r"^the packages blink 0\.3 and wink 0\.3 both add the event format blk; uninstall one of them$"
    with pytest.raises(BadInput, match=said):
        registry.named("blk")
    assert [each.package for each in extensions.installed("event format")] == ["blink", "wink"]
