"""Real exports with the package in tests/extension_package, which adds a neuron, a network and an event format."""

import importlib

import numpy as np
import pytest
import torch

from tcja_deploy import doctor
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.inspect.describe import inspect
from tcja_deploy.verify.verifier import verify

from ... import networks as small


@pytest.fixture
def checkpoint(install, tmp_path):
    """The weights of a BlinkNet that fires."""
    install()
    torch.manual_seed(0)
    net = importlib.import_module("blink.lif").BlinkNet()
    with torch.no_grad():
        for weight in (net.inner.weight, net.outer.weight):
            weight.abs_()
    torch.save(net.state_dict(), tmp_path / "blink.pth")
    return tmp_path / "blink.pth"


@pytest.mark.slow
def test_a_network_and_a_recording(checkpoint, tmp_path):
    events = np.zeros(400, [("t", "<u4"), ("x", "u1"), ("y", "u1"), ("p", "u1"), ("unused", "u1")])
    random = np.random.default_rng(0)
    events["t"], events["x"] = np.sort(random.integers(0, 10**6, 400)), random.integers(0, 4, 400)
    (tmp_path / "a.blk").write_bytes(events.tobytes())
    out, settings = tmp_path / "a.bundle", {"T": "5"}
    request = ExportRequest(checkpoint=checkpoint, settings=settings, data=tmp_path / "a.blk", out=out, target="onnx")
    manifest, _ = pipeline.export(request)
    assert [line for line in manifest.evidence if "extension" in line] == [
        "the network is added by the extension blink 0.3 (entry point tcja_deploy.networks: blink_net)",
        "the recordings are read by the extension blink 0.3 (entry point tcja_deploy.event_formats: blk)",
    ]
    assert (manifest.network, manifest.classes) == ("blink_net", ["left", "right", "none"])
    assert inspect(out)["tools"]["blink"] == manifest.tools["blink"] == "0.3"
    assert verify(out).report.met


@pytest.mark.slow
def test_a_neuron(checkpoint, tmp_path):
    request = ExportRequest(
        checkpoint=checkpoint,
        model="blink.lif:BlinkNet",
        shape=(5, 2, 4, 4),
        layout="TN",
        out=tmp_path / "b.bundle",
        target="onnx",
    )
    manifest, report = pipeline.export(request)
    assert report.met
    assert "the neurons and their constants are those of blink 0.3" in manifest.evidence
    assert (manifest.dialect, manifest.tools["blink"]) == ("blink", "0.3")
    assert [layer.neuron.decay for layer in manifest.layers] == [0.75, 0.5]


def test_a_broken_network_leaves_the_others_as_they_are(install, tmp_path):
    install({"tcja_deploy.networks": {"blink_net": "blink.gone:NETWORK"}})
    trained = small.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    facts = inspect(trained)
    assert facts["network"] == "fashion_mnist"
    assert [line for line in facts["evidence"] if "blink" in line] == [
        "check this: not compared with the network blink_net of an extension: the extension blink 0.3 (entry point "
        "tcja_deploy.networks: blink_net) does not load: ModuleNotFoundError: No module named 'blink.gone'; mend or "
        "uninstall it"
    ]


def test_doctor_lists_what_is_installed_and_does_not_import_it(install):
    install({"tcja_deploy.neurons": {"a.B": "gone:x"}, "tcja_deploy.event_formats": {"blk": "gone:x", "dat": "gone:x"}})
    found = {each.what: (each.able, each.detail, each.fix) for each in doctor.examine()}
    assert found["use the neuron a.B"] == (True, "blink 0.3 adds it", "")
    assert found["use the event format blk"] == (True, "blink 0.3 adds it", "")
    able, detail, fix = found["use the event format dat"]
    assert (able, fix) == (False, "pip uninstall blink")
    assert detail.endswith("adds the event format dat, which tcja-deploy has itself; uninstall it")
