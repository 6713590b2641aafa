from __future__ import annotations

import json

import torch

from tcja_deploy.packages import EXTRAS


def test_doctor(run):
    code, out, _ = run("doctor", "--json")
    assert code == 0
    found = {finding["what"]: finding for finding in json.loads(out)}
    assert found["verify bundles"]["able"]
    assert found["export checkpoints"]["able"]
    assert f"torch {torch.__version__}" in found["export checkpoints"]["detail"]
    assert "never run in a real TensorRT" in found["build engines with the plugin for this machine's GPU"]["detail"]
    assert all(finding["fix"] or finding["able"] or "GPU" in finding["what"] for finding in found.values())


def test_doctor_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(EXTRAS, "export", ("torch", "no-such-package"))
    lines = [line.strip() for line in run("doctor")[1].splitlines()]
    at = lines.index("no   export checkpoints: no-such-package not installed")
    assert lines[at + 1] == "pip install 'tcja-deploy[export]'"
