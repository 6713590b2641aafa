"""The public interface of the application is what `__all__` says. But for `check` and `export`, it needs no torch."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import tcja_deploy

from .. import networks
from ..docs.blocks import ROOT

FUNCTIONS = ("bench", "build", "check", "export", "sign", "verify")
NAMES = [
    *FUNCTIONS,
    *("BadInput", "ParityNotMet", "TcjaError", "Unavailable"),
    *("BenchResult", "BuildResult", "CheckResult", "ExportResult", "SignResult", "VerifyResult"),
]
LEAN = "import sys\nfor name in ('torch', 'onnx'): sys.modules[name] = None\nimport tcja_deploy\n"


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_names():
    assert tcja_deploy.__all__ == sorted(NAMES) == dir(tcja_deploy)


@pytest.mark.parametrize(
    "first",
    ["export", *(pytest.param(name, marks=pytest.mark.slow) for name in ("verify", "BenchResult", "Unavailable"))],
)
def test_functions_are_functions_whichever_name_is_used_first(first):
    """Submodules have the names of functions: importing one must not hide the function, before nor after it is used."""
    code = f"import tcja_deploy, tcja_deploy.verify\ntcja_deploy.{first}\n"
    code += "import tcja_deploy.bench, tcja_deploy.build, tcja_deploy.check\n"
    code += (
        f"names = {FUNCTIONS}\nassert not [n for n in names if type(getattr(tcja_deploy, n)).__name__ != 'function']"
    )
    python(code)


def test_the_example_of_the_readme(tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text()
    code, _ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)  # of the workstation, and of the board
    small = networks.SMALL["fashion_mnist"]
    small.checkpoint(tmp_path / "model.pth")
    np.savez_compressed(tmp_path / "test.npz", images=small.inputs(4).numpy(), labels=[0, 1, 2, 3])
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "Parity met" in capsys.readouterr().out
    assert (tmp_path / "model.bundle" / "report.html").is_file()


def test_a_board_verifies_with_numpy_and_onnx_runtime(bundle):
    code = LEAN + "print(tcja_deploy.verify(sys.argv[1]).met)"
    assert python(code, bundle) == "True\n"


CALLS = {
    "verify": (
        ("verify(3)", "`bundle` is 3, and must be a path"),
        ("verify('')", '`bundle` is "", and must be a path'),
        ("verify('nowhere')", "nowhere does not exist"),
        ("verify(path, data=5)", "`data` is a value of type int, and must be a path, frames, (frames, labels), "),
        ("verify(path, samples='2')", '`samples` is "2", and must be a whole number'),
        ("verify(path, bisect=1)", "`bisect` is 1, and must be true or false"),
        ("verify(path, backend='foo')", "`backend` foo must be one of auto, "),
        ("verify(path, backends='foo')", "`backends` is no option of verify; the nearest is `backend`"),
        ("verify(path, progress=2)", "`progress` is 2, and must be true or false"),
    ),
    "build": (
        ("build(path, target='onnx')", "`target` onnx must be one of auto, tensorrt, tensorrt-rtx"),
        ("build(path, workspace=5)", "`workspace` 5 is a number of bytes, and must be 1,048,576"),
        ("build(path, batch='4:2')", "`batch` 4:2 is not MIN:OPT:MAX, for example 1:1:8"),
        ("build(path, batch=True)", "`batch` must be one number of windows, three (the smallest, the tuned, the"),
        ("build(path, batch=(8, 1, 1))", "`batch` 8:1:1: 1 <= MIN <= OPT <= MAX <= 1024 must hold"),
        ("build(path, batch=[1, 1, 1.5])", "`most` is 1.5, and must be a whole number"),
        ("build(path, optimization_level=3)", "`optimization_level` is no option of build; the nearest is `"),
    ),
    "sign": (
        ("sign(path)", "a bundle is signed with `key` or through `sigstore`; give one of them"),
        ("sign(path, key=3)", "`key` is 3, and must be a path"),
        ("sign(path, keys='k')", "`keys` is no option of sign; the nearest is `key`"),
        ("sign(path, key='no key')", "no key cannot be read or written: No such file or directory"),
        ("verify(path, public_keys='no key')", "no key cannot be read or written: No such file or directory"),
        ("build(path, key='no key')", "no key cannot be read or written: No such file or directory"),
    ),
    "bench": (
        ("bench(None)", "`bundle` is None, and must be a path"),
        ("bench(path, backends='foo')", "`backend` foo must be one of auto, tensorrt"),
        ("bench(path, backends=())", "`backends` and `batches` must have at least one value each"),
        ("bench(path, batches=(0,))", "`batch` 0 must be 1 to 1,024"),
        ("bench(path, batches=1.5)", "`batches` is 1.5, and must be a list or a tuple"),
        ("bench(path, seconds=float('nan'))", "`seconds` is NaN, and must be a finite number"),
        ("bench(path, seconds=-1)", "`seconds` -1 must be 0 to 86,400"),
        ("bench(path, warm_up='1')", '`warm_up` is "1", and must be a finite number'),
        ("bench(path, batch=1)", "`batch` is no option of bench; the nearest is `batches`"),
    ),
    "check": (
        ("check(3)", "check takes the path of a checkpoint, or a module of torch, not a value of type int"),
        ("check('a', batch=0)", "`batch` 0:0:0: 1 <= MIN <= OPT <= MAX <= "),
        ("check('a', out='')", '`out` is "", and must be a path'),
        ("check('a', anytime=-1)", "`anytime` -1 must be 0 to 1,000,000"),
        ("check('a', samples=2_000_000)", "`samples` 2000000 must be 1 to 1,000,000"),
        (
            "check('a', layout='TN')",
            "`shape`, `input` and `layout` say what `model` takes; give `model` too, `trust_checkpoint` if the file",
        ),
        ("check('a', bacth=3)", "`bacth` is no option of check; the nearest is `batch`"),
    ),
    "export": (
        ("export(3)", "export takes the path of a checkpoint, or a module of torch, not a value of type int"),
        ("export(dict)", "export takes the path of a checkpoint, or a module of torch, not the class dict; call it: d"),
        ("export('a', out='')", '`out` is "", and must be a path'),
        ("export('a', classes='abc')", '`classes` is "abc", and must be a list or a tuple'),
        ("export('a', shape='4,2,8,8')", '`shape` is "4,2,8,8", and must be a list or a tuple'),
        ("export('a', settings='T=4')", '`settings` is "T=4", and must be a dictionary'),
        ("export('a', settings={'T': True})", "`settings`.T is True, and must be text"),
        ("export('a', model=3)", "`model` is 3, and must be a Module"),
        ("export('a', layout='nt')", "`layout` nt must be one of NT, TN, step"),
        ("export('a', precision='fp8')", "`precision` fp8 must be one of fp32, fp16, int8"),
        ("export('a', target='cuda')", "`target` cuda must be one of auto, onnx, tensorrt, tensorrt-rtx"),
        ("export('a', time_form='loop')", "`time_form` loop must be one of auto, scan, unrolled, fused"),
        ("export('a', labels='names ')", "`labels` names  must be one of names, numbers, text-order"),
        ("export('a', calibration='none')", "`calibration` none must be one of data, random"),
        ("export('a', crop=(0, 0, 0, 8))", "`crop` 0,0,0,8: the width and the height must be at least 1"),
        ("export('a', samlpes=3)", "`samlpes` is no option of export; the nearest is `samples`"),
        ("export('a', checkpoint='b')", "`checkpoint` is no option of export; the nearest is `"),
    ),
}


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_arguments_of_another_type_or_range_are_refused_by_their_names(bundle):
    """Before any work. One process asks for all of them."""
    calls = [pair for pairs in CALLS.values() for pair in pairs]
    code = f"from tcja_deploy import *\npath = {str(bundle)!r}\nfor call in {[call for call, _ in calls]!r}:\n"
    code += "    try: print('nothing refused', eval(call))\n    except BadInput as error: print(error)"
    lines = python(code).splitlines()
    assert len(lines) == len(calls)
    for (call, said), line in zip(calls, lines, strict=True):
        assert line.startswith(said), call


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_paths_may_be_texts(bundle):
    code = f"import tcja_deploy, tcja_runtime\npath = {str(bundle)!r}\n"
    code += "found = tcja_deploy.bench(path, batches=1, seconds=0.1, warm_up=0)\n"
    code += "print(found.measured.network, tcja_runtime.Bundle.open(path).manifest.network)"
    assert python(code) == "fashion_mnist fashion_mnist\n"
