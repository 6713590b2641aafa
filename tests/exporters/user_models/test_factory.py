import pytest

from tcja_exporters.user_models.factory import from_factory
from tcja_runtime.errors import BadInput


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nothing", "`model` nothing is not MODULE:FACTORY, such as mypackage.networks:build"),
        ("no_such_module:build", "importing no_such_module fails: ModuleNotFoundError"),
        ("math:build", "`model` math:build: math has no function or class build"),
        (
            "mynet.py:build",
            "mynet.py is the name of a file, not of a module; write mynet:build, and run this in the folder that",
        ),
        ("./nets/mynet:build", "./nets/mynet is the name of a file, not of a module; write nets.mynet:build"),
        ("math:pi", "math has no function or class pi"),
        ("os:getcwd", r"getcwd\(\) returns a str, not a torch.nn.Module"),
        ("math:sqrt", r"sqrt\(\) fails: TypeError"),
        ("sys:exit", r"exit\(\) fails: SystemExit"),
    ],
)
def test_factories_that_are_none(said, message):
    with pytest.raises(BadInput, match=message):
        from_factory(said)
