"""The public interface of the application is what `__all__` says, and works without torch and onnx but for `export`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tcja_deploy

from .. import networks

NAMES = [
    *("CameraView", "VerifyOptions", "bench", "build", "export", "verify"),
    *("BadInput", "Batch", "BenchOptions", "BuildOptions", "ExportRequest", "ParityNotMet", "TcjaError", "Unavailable"),
]
LEAN = "import sys\nfor name in ('torch', 'onnx'): sys.modules[name] = None\nimport tcja_deploy\n"


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_names():
    assert tcja_deploy.__all__ == sorted(NAMES) == dir(tcja_deploy)


@pytest.mark.parametrize(
    "first", [pytest.param(name, marks=[] if name in ("build", "export") else pytest.mark.slow) for name in NAMES]
)
def test_functions_are_functions_whichever_name_is_used_first(first):
    """Submodules have the names of functions: importing one must not hide the function."""
    python(f"import tcja_deploy\ntcja_deploy.{first}\nassert all(callable(getattr(tcja_deploy, n)) for n in {NAMES})")


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_the_example_of_the_readme(name, tmp_path):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    networks.SMALL[name].checkpoint(tmp_path / "model.pth")
    python(f"import os\nos.chdir({str(tmp_path)!r})\n{code}\nassert report.met")
    assert (tmp_path / "model.bundle" / "report.html").is_file()


def test_a_board_verifies_with_numpy_and_onnx_runtime(bundle):
    code = LEAN + "from pathlib import Path\nprint(tcja_deploy.verify(Path(sys.argv[1])).report.met)"
    assert python(code, bundle) == "True\n"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            "tcja_deploy.verify(path, tcja_deploy.VerifyOptions(backend='foo'))",
            "`backend` foo must be auto, ",
        ),
        (
            "tcja_deploy.bench(path, tcja_deploy.BenchOptions(backends=('foo',)))",
            "`backend` foo must be auto, tensorrt",
        ),
        ("tcja_deploy.build(path, 'foo', tcja_deploy.BuildOptions())", "`target` foo must be auto, tensorrt, "),
    ],
)
@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_a_word_that_is_no_choice_is_refused(bundle, call, said):
    code = f"from pathlib import Path\nimport tcja_deploy\npath = Path({str(bundle)!r})\n"
    code += f"try: {call}\nexcept tcja_deploy.BadInput as error: print(error)"
    assert python(code).startswith(said)


CALLS = {
    "verify": (
        ("verify(3)", "`path` is 3, and must be a path"),
        ("verify('')", '`path` is "", and must be a path'),
        ("verify('nowhere')", "nowhere does not exist"),
        ("verify(path, {})", "`options` is a dictionary, and must be a VerifyOptions"),
        ("verify(path, VerifyOptions(data=5))", "`data` is 5, and must be a path"),
        ("verify(path, VerifyOptions(samples='2'))", '`samples` is "2", and must be a whole number'),
        ("verify(path, VerifyOptions(bisect=1))", "`bisect` is 1, and must be true or false"),
    ),
    "build": (
        ("build(path, 'onnx')", "`target` onnx must be auto, tensorrt, tensorrt-rtx"),
        ("build(path, 'tensorrt', 3)", "`options` is 3, and must be a BuildOptions"),
        ("build(path, options=BuildOptions(workspace=5))", "`workspace` 5 is a number of bytes, and must be 1,048,576"),
        ("build(path, options=BuildOptions(batch=4))", "`batch` is 4, and must be a Batch"),
        ("Batch(8, 1, 1)", "`batch` 8:1:1: 1 <= MIN <= OPT <= MAX <= 1024 must hold"),
        ("Batch(1, 1, 1.5)", "`most` is 1.5, and must be a whole number"),
    ),
    "bench": (
        ("bench(None)", "`path` is None, and must be a path"),
        ("BenchOptions(backends='auto')", '`backends` is "auto", and must be a tuple'),
        ("BenchOptions(backends=())", "`backends` and `batches` must have at least one value each"),
        ("BenchOptions(batches=(0,))", "`batch` 0 must be 1 to 1,024"),
        ("BenchOptions(batches=1)", "`batches` is 1, and must be a tuple"),
        ("BenchOptions(seconds=float('nan'))", "`seconds` is NaN, and must be a finite number"),
        ("BenchOptions(seconds=-1)", "`seconds` -1 must be 0 to 86,400"),
        ("BenchOptions(warm_up='1')", '`warm_up` is "1", and must be a finite number'),
    ),
    "export": (
        ("export('model.pth')", '`request` is "model.pth", and must be an ExportRequest'),
        ("ExportRequest(checkpoint=3, out='b')", "`checkpoint` is 3, and must be a path"),
        ("ExportRequest(checkpoint='a', out='')", '`out` is "", and must be a path'),
        ("ExportRequest(checkpoint='a', out='b', keep='conv.0')", '`keep` is "conv.0", and must be a tuple'),
        ("ExportRequest(checkpoint='a', out='b', classes='abc')", '`classes` is "abc", and must be a tuple'),
        ("ExportRequest(checkpoint='a', out='b', shape='4,2,8,8')", '`shape` is "4,2,8,8", and must be a tuple'),
        ("ExportRequest(checkpoint='a', out='b', settings='T=4')", '`settings` is "T=4", and must be a dictionary'),
        ("ExportRequest(checkpoint='a', out='b', model=3)", "`model` is 3, and must be a Module"),
    ),
}


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_arguments_of_another_type_or_range_are_refused_by_their_names(bundle):
    """Below the command line, too, and before any work. One process asks for all of them."""
    calls = [pair for pairs in CALLS.values() for pair in pairs]
    code = f"from tcja_deploy import *\npath = {str(bundle)!r}\nfor call in {[call for call, _ in calls]!r}:\n"
    code += "    try: print('nothing refused', eval(call))\n    except BadInput as error: print(error)"
    for (call, said), line in zip(calls, python(code).splitlines(), strict=True):
        assert line.startswith(said), call


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_paths_may_be_texts(bundle):
    code = f"import tcja_deploy, tcja_runtime\npath = {str(bundle)!r}\n"
    code += "options = tcja_deploy.BenchOptions(batches=[1], seconds=0.1, warm_up=0)\n"
    code += "print(tcja_deploy.bench(path, options).network, tcja_runtime.Bundle.open(path).manifest.network)"
    assert python(code) == "fashion_mnist fashion_mnist\n"
