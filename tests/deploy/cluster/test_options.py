from __future__ import annotations

import sys
from types import ModuleType

import pytest
import typer

from tcja_deploy.cli import app
from tcja_deploy.cluster.cluster import joined
from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.console import silent
from tcja_runtime.errors import BadInput, Unavailable


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.1:6379", "head.local:6379", "[fe80::1]:6379"])
def test_addresses(address):
    assert ClusterOptions(ray=address, workers=3).ray == address


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"ray": "ray://10.0.0.1:10001"},
            "`ray` ray://10.0.0.1:10001 is no address of a cluster: it must be HOST:PORT",
        ),
        ({"ray": "a.bundle"}, "`ray` a.bundle is no address"),
        ({"ray": "local", "workers": 0}, "`workers` 0 must be"),
        ({"workers": 2}, "`workers` is the number of workers of Ray; give `ray` too"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(BadInput) as caught:
        ClusterOptions(**fields)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (["--ray", "a.bundle", "b.npz"], "local"),
        (["a.bundle", "--ray", "10.0.0.1:6379", "b.npz"], "10.0.0.1:6379"),
        (["a.bundle", "b.npz", "--ray"], "local"),
        (["a.bundle", "b.npz", "--ray", "--workers", "2"], "local"),
        (["a.bundle", "b.npz", "--ray=auto"], "auto"),
        (["a.bundle", "--ray", "ray://10.0.0.1:10001", "b.npz"], "ray://10.0.0.1:10001"),  # its refusal says why
        (["a.bundle", "--", "b.npz", "--ray"], None),
    ],
)
def test_an_address_is_what_looks_like_one(words, address):
    command = typer.main.get_command(app.app).commands["run"]
    found = command.make_context("run", list(words)).params
    assert found["ray"] == address
    assert str(found["bundle"]) == "a.bundle"
    assert [str(each) for each in found["files"]] == ["b.npz", *["--ray"] * (address is None)]


@pytest.mark.parametrize("package", ["ray", "pyarrow"])
def test_without_ray_it_is_said_what_to_install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "pyarrow", ModuleType("pyarrow"))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unavailable) as caught, joined(ClusterOptions(ray="local"), silent()):
        pass
    said = f"`ray` needs the package {package}, which is not installed: run 'pip install \"tcja-deploy[ray]\"'"
    assert str(caught.value) == said
