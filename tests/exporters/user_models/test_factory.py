import re
import sys

import pytest
from torch import nn

from tcja_exporters.user_models.factory import from_factory
from tcja_runtime.errors import BadInput


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nothing", "`model` nothing is not MODULE:FACTORY, such as mypackage.networks:build"),
        ("math:build", "`model` math:build: math has no function or class build"),
        (
            "mynet.py:build",
            "mynet.py is the name of a file, not of a module; write mynet:build, and run this in the folder that",
        ),
        ("./nets/mynet:build", "./nets/mynet is the name of a file, not of a module; write nets.mynet:build"),
        ("math:pi", "math has no function or class pi"),
        ("os:getcwd", r"getcwd\(\) returns a str, not a torch.nn.Module"),
        ("math:sqrt", "sqrt is called without arguments, and needs x; name a function that calls it with them"),
        ("sys:exit", r"exit\(\) fails: SystemExit"),
    ],
)
def test_factories_that_are_none(said, message):
    with pytest.raises(BadInput, match=message):
        from_factory(said)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a user's module, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str, name: str = "nets_of_mine") -> None:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield write
    for name in [name for name in sys.modules if name.endswith("of_mine")]:
        del sys.modules[name]


def refused(said: str) -> str:
    with pytest.raises(BadInput) as caught:
        from_factory(said)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_module_that_is_not_there_is_named_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for said in ("no_such_module:build", "no_such_module.inner:build"):
        assert refused(said) == (
            f"`model` {said}: no module no_such_module is in {tmp_path} or among the installed packages"
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\nimport no_such_package", "ModuleNotFoundError: No module named 'no_such_package' ({}, line 2)"),
        ("from torch import no_such_name", "ImportError: cannot import name 'no_such_name' from 'torch'"),
        ("import torch\n\ndef build(:\n    pass", "SyntaxError: invalid syntax ({}, line 3)"),
        ("import torch\n  x = 1", "IndentationError: unexpected indent ({}, line 2)"),
        ("x = 1\ny = x / 0", "ZeroDivisionError: division by zero ({}, line 2)"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--x'])", "SystemExit: 2 ({}, line 2)"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(text, message, module, capsys):
    module(text)
    said = refused("nets_of_mine:build")
    assert said.startswith("`model` nets_of_mine:build: importing nets_of_mine fails: ")
    assert message.format("nets_of_mine.py") in said


def test_the_line_of_a_module_that_the_users_module_imports(module):
    module("import helper_of_mine")
    module("\n\nraise RuntimeError('not today\\nor ever')", "helper_of_mine")
    assert refused("nets_of_mine:build").endswith("fails: RuntimeError: not today (helper_of_mine.py, line 3)")


def test_a_factory_that_fails_is_named_with_its_line(module):
    module("def build():\n    return inner()\n\ndef inner():\n    raise KeyError('weights')")
    assert refused("nets_of_mine:build").endswith("build() fails: KeyError: 'weights' (nets_of_mine.py, line 5)")


def test_the_arguments_that_a_factory_needs_are_named(module):
    module("from torch import nn\nclass Net(nn.Module):\n    def __init__(self, channels, *, T, bias=True): pass")
    assert refused("nets_of_mine:Net") == (
        "`model` nets_of_mine:Net: Net is called without arguments, and needs channels, T; name a function that calls "
        "it with them"
    )


@pytest.mark.parametrize(
    "made",
    [
        "build = functools.partial(nn.Linear, 2, out_features=3)",
        "build = nn.Linear(2, 3)",
        "def build(n=3): return nn.Linear(2, n)",
    ],
)
def test_partials_networks_and_defaults_are_factories(made, module):
    module(f"import functools\nfrom torch import nn\n{made}")
    network = from_factory("nets_of_mine:build").network
    assert isinstance(network, nn.Linear)
    assert re.match(r"Linear\(in_features=2, out_features=3", repr(network))
