"""Proves an export against the trained network in PyTorch, and records what proves it again without PyTorch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from torch import nn

from tcja_deploy.comparison import Compared, compare
from tcja_deploy.console import Steps
from tcja_deploy.parity import Report
from tcja_deploy.probes import onnxruntime_probes
from tcja_deploy.versions import tools
from tcja_exporters import reference
from tcja_exporters.advice import advise
from tcja_exporters.onnx_export import Exported
from tcja_exporters.trained import TrainedNetwork
from tcja_runtime import golden, stimulus
from tcja_runtime.bundle import Layer, Tap
from tcja_runtime.frames import Floats, Samples
from tcja_runtime.golden import Golden
from tcja_runtime.portrait import Advice, Painter, Portrait
from tcja_runtime.trace import Reference


def certify(
    network: TrainedNetwork,
    exported: Exported,
    samples: Samples,
    layers: list[Layer],
    taps: list[Tap],
    folder: Path,
    steps: Steps,
) -> tuple[Report, Golden, Portrait]:
    """Parity of both models on all samples and on drawn scenes, golden vectors of the first few, and a portrait."""
    contract, time_steps = network.contract, network.time_steps
    recorder, painter = golden.Recorder(), Painter(layers)
    advice: list[Advice] = []
    estimated: dict[str, list[str]] = {}

    def record(model: nn.Module, inputs: Floats, taps: list[Tap], **options: Any) -> Reference:
        recorded = reference.record(model, inputs, layers, time_steps, taps, **options)
        estimated.update(recorded.estimated)
        return recorded.reference

    def trained(part: slice) -> Reference:
        recorded = record(network.model, samples.inputs[part], [tap for tap in taps if tap.attends])
        recorder.add(recorded)
        painter.add(recorded)
        if not advice:  # a batch is enough to tell
            advice.extend(advise(network.model, samples.inputs[part], recorded, layers))
        return recorded

    scenes: dict[str, tuple[Floats, Reference]] = {}

    def draw(scene: str, model: nn.Module, n: int) -> None:
        inputs = stimulus.inputs(contract, n)
        spikes = {layer.name: stimulus.spikes(layer.name, layer.shape, time_steps, n) for layer in layers}
        scenes[scene] = inputs, record(model, inputs, taps, spikes=spikes, most=stimulus.DRAWN_PLACES)
        recorder.add_scene(scene, scenes[scene][1])

    with steps.step("record drawn stimuli"):
        draw(stimulus.DRAWN, network.model, stimulus.windows([layer.shape for layer in layers], time_steps))
        draw(stimulus.DYADIC, reference.with_drawn_weights(network.model, exported.weights), 1)
    compared = Compared(layers=layers, time_steps=time_steps, drawn_weights=stimulus.dyadic(exported.weights))
    probes = onnxruntime_probes(folder, contract.name, network.output, layers, taps)
    with steps.counted("compare with PyTorch", len(samples)) as advance:
        result = compare(
            trained,
            f"PyTorch {tools()['torch']}, float64",
            probes,
            samples,
            scenes,
            compared,
            advance=advance,
        )
    return dataclasses.replace(result, estimated=estimated), recorder.golden(samples), painter.portrait(advice)
