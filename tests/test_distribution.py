"""What `pip install tcja-deploy` installs: built as a release is, and used in an environment with nothing beside it."""

from __future__ import annotations

import dataclasses
import email
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = {"PYTHONPATH": str(Path(sys.prefix) / "packaging")}
"""The environment variables with which the tools for releases are found, which `make test-all` installs."""
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
NOTHING: Mapping[str, str] = {}
PACKAGES = {"tcja_deploy": ROOT, "tcja_exporters": ROOT / "exporters", "tcja_runtime": ROOT / "runtime"}
NOT_IN_A_CLONE = ".git", ".venv", "build", "dist", "site", "*.egg-info", "__pycache__", ".*_cache"

pytestmark = pytest.mark.releases


def tried(*command: object, environment: Mapping[str, str] = NOTHING, **options) -> subprocess.CompletedProcess[str]:
    """A command with these environment variables set, and no packages on the path but those that they name."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {**environment}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, env=variables, **options)


def ran(*command: object, **options) -> subprocess.CompletedProcess[str]:
    """A command that ended with the exit code 0 (`tried`)."""
    done = tried(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def would_install(*arguments: object, environment: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    """What pip would do in this environment, with nothing to install from but what is given."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", *arguments]
    return tried(*command, environment={**OFFLINE, **environment}, cwd="/")


@dataclasses.dataclass(frozen=True)
class Release:
    """A wheel and a source distribution."""

    wheel: Path
    source: Path

    @property
    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return email.message_from_string(archive.read(name).decode())


DATE = "1700000000"
"""Of the release, in seconds since 1970."""


def built(clone: Path, out: Path, umask: int = 0o022, **variables: str) -> Release:
    """A release as `make release` builds it."""
    environment = {**TOOLS, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "", **variables}
    command = [sys.executable, ROOT / "tools/release.py", "--source", clone, "--out", out]
    ran(*command, environment=environment, umask=umask)
    return Release(*out.glob("*.whl"), *out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "project"
    return Path(shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE)))


@pytest.fixture(scope="module")
def release(clone, tmp_path_factory) -> Release:
    return built(clone, tmp_path_factory.mktemp("dist"), SOURCE_DATE_EPOCH=DATE)


@pytest.fixture(scope="module")
def python(release, tmp_path_factory) -> Path:
    """The Python of an environment where nothing was installed but the wheel, with what it requires."""
    folder = tmp_path_factory.mktemp("environment")
    ran(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    ran(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", release.wheel, cwd=folder)
    return python


@pytest.fixture(scope="module")
def onnxruntime(tmp_path_factory) -> dict[str, str]:
    """The environment variables with which the ONNX Runtime of this environment is found in another one."""
    folder = tmp_path_factory.mktemp("onnxruntime")
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    for each in (package, *package.parent.glob("onnxruntime*.dist-info")):
        (folder / each.name).symlink_to(each)
    return {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


def test_the_release_is_what_package_indexes_take(release):
    said = ran(sys.executable, "-m", "twine", "check", "--strict", *dataclasses.astuple(release), environment=TOOLS)
    assert said.stdout.count("PASSED") == 2
    metadata = release.metadata
    assert metadata["Name"] == "tcja-deploy"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Keywords"]
    assert metadata["Author"]


def test_two_builds_are_equal_to_the_byte(release, clone, tmp_path):
    """The other one is of a commit, in another folder, by another person, in another time zone."""
    other = shutil.copytree(clone, tmp_path / "of another")
    for file in other.rglob("*"):
        file.chmod(file.stat().st_mode & 0o700)
        os.utime(file, (1e9, 1e9))
    git = ["git", "-C", other, "-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    ran("git", "init", "--quiet", other)
    ran(*git, "add", "--all", "--force")
    ran(*git, "commit", "--quiet", "-m", "A release", environment={"GIT_COMMITTER_DATE": f"{DATE} +0900"})
    (other / "tcja_deploy" / "later.py").write_text("not committed")
    again = built(other, tmp_path / "dist", umask=0o077, TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="1")
    for one, two in zip(dataclasses.astuple(release), dataclasses.astuple(again), strict=True):
        assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())


def test_a_folder_without_a_date_is_no_release(clone, tmp_path):
    done = tried(sys.executable, ROOT / "tools/release.py", "--source", clone, "--out", tmp_path, environment=TOOLS)
    assert (done.returncode, "so nothing says its date; set SOURCE_DATE_EPOCH" in done.stderr) == (1, True)


def test_the_wheel_has_the_packages_and_nothing_else(release):
    with zipfile.ZipFile(release.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        str(file.relative_to(place))
        for package, place in PACKAGES.items()
        for file in (place / package).rglob("*")
        if file.suffix in (".py", ".typed", ".cu")
    }
    assert names == wanted
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "tcja_runtime/tensorrt/plugin/lif.cu" in names


def test_the_source_distribution_can_be_tested_and_read(release):
    with tarfile.open(release.source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "Makefile", "SECURITY.md", "constraints.txt"} <= names
    assert {
        "docs/index.md",
        "tests/test_layout.py",
        "tools/install.py",
        "examples/fashion_mnist/train.py",
    } <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_base_install_is_small_and_says_what_it_lacks(python):
    command = python.with_name("tcja-deploy")
    assert ran(command, "--version").stdout.startswith("tcja-deploy 0.1.0")
    ran(command, "doctor")
    ran(python, "-W", "error", "-c", "import tcja_deploy, tcja_runtime")
    installed = ran(python, "-m", "pip", "list", "--format", "freeze").stdout
    assert not re.search(r"^(torch|onnx|tensorrt|nvidia)", installed, re.MULTILINE)
    ran(python, "-m", "pip", "check")


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_a_bundle_is_verified_and_run_with_onnxruntime(python, onnxruntime, bundle, data, name, tmp_path):
    command = python.with_name("tcja-deploy")
    lacking = tried(command, "verify", bundle, cwd=tmp_path)
    assert lacking.returncode == 3
    assert "onnxruntime" in lacking.stderr
    assert "Parity met" in ran(command, "verify", bundle, environment=onnxruntime, cwd=tmp_path).stdout
    assert "12 windows" in ran(command, "run", bundle, data[name], environment=onnxruntime, cwd=tmp_path).stdout


def test_torch_that_is_new_enough_is_kept(release):
    done = would_install(f"{release.wheel}[export,rtx]")
    assert done.stdout.splitlines()[-1] == "Would install tcja-deploy-0.1.0"


def test_torch_that_is_older_is_kept_with_no_deps(release, tmp_path):
    """As SpikingJelly's users often have it: their torch stays, and doctor says what it is too old for."""
    info = tmp_path / "torch-2.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.0.1\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    replaced = would_install(f"{release.wheel}[export]", environment=environment)
    assert "No matching distribution found for torch>=2.8" in replaced.stderr  # no index is there to take it from
    kept = would_install("--no-deps", release.wheel, environment=environment)
    assert kept.stdout.splitlines()[-1] == "Would install tcja-deploy-0.1.0"


def test_the_tutorial_installs_all_but_torch(release):
    """Beside somebody's torch, the tutorial installs tcja-deploy with --no-deps, and then what else it requires."""
    wanted = {
        re.match(r"[\w-]+", line)[0]
        for line in release.metadata.get_all("Requires-Dist")
        if "extra ==" not in line or 'extra == "export"' in line
    }
    lines = re.findall(r"^pip install (.*)$", (ROOT / "docs" / "tutorial.md").read_text(), re.MULTILINE)
    assert lines[0].startswith("--no-deps ")
    assert set(lines[1].split()) == wanted - {"torch", "numpy"}  # torch and SpikingJelly bring numpy


def test_the_citation_is_valid():
    code = "from cffconvert.cli.cli import cli; cli(['--validate', '-i', 'CITATION.cff'])"
    ran(sys.executable, "-c", code, environment=TOOLS, cwd=ROOT)
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", text, re.MULTILINE)[1] == importlib.metadata.version("tcja-deploy")
