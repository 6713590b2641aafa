from __future__ import annotations

import pytest

from tcja_deploy.cli import app
from tcja_deploy.cluster.options import ClusterOptions
from tcja_runtime.errors import BadInput


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
        (["a.bundle", "--", "b.npz", "--ray"], None),
    ],
)
def test_an_address_is_what_looks_like_one(words, address):
    import typer

    command = typer.main.get_command(app.app).commands["run"]
    found = command.make_context("run", list(words)).params
    assert found["ray"] == address
    assert str(found["bundle"]) == "a.bundle"
    assert [str(each) for each in found["files"]] == ["b.npz", *["--ray"] * (address is None)]
