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
    *("BadInput", "BenchOptions", "BuildOptions", "ExportRequest", "ParityNotMet", "TcjaError", "Unavailable"),
    *("VerifyOptions", "View", "bench", "build", "export", "verify"),
]
LEAN = "import sys\nfor name in ('torch', 'onnx'): sys.modules[name] = None\nimport tcja_deploy\n"


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_names():
    assert tcja_deploy.__all__ == sorted(NAMES) == dir(tcja_deploy)


@pytest.mark.parametrize("first", NAMES)
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
        ("tcja_deploy.build(path, 'foo', tcja_deploy.BuildOptions())", "`target` foo must be auto, onnx, "),
    ],
)
@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_a_word_that_is_no_choice_is_refused(bundle, call, said):
    code = f"from pathlib import Path\nimport tcja_deploy\npath = Path({str(bundle)!r})\n"
    code += f"try: {call}\nexcept tcja_deploy.BadInput as error: print(error)"
    assert python(code).startswith(said)
