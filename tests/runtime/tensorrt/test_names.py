"""Every name of TensorRT's Python module that the code uses exists in every version that it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .names import API, chain, missing, own

ROOT = Path(__file__).parents[3]
FOLDER = "runtime/tcja_runtime/tensorrt"
BUILDER, SESSION = f"{FOLDER}/builder_process.py", f"{FOLDER}/session.py"
TYPES = {
    BUILDER: {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "error": "ParserError",
        "config": "IBuilderConfig",
        "plan": "IHostMemory",
        "layer": "ILayer",
        "tensor": "ITensor",
        "t": "ITensor",
    },
    f"{FOLDER}/build_job.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "source": "ITensor",
    },
    f"{FOLDER}/built_plan.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "runtime": "Runtime",
        "engine": "ICudaEngine",
        "context": "IExecutionContext",
        "inspector": "EngineInspector",
        "source": "ITensor",
    },
    f"{FOLDER}/timing_cache.py": {"config": "IBuilderConfig", "merged": "ITimingCache"},
    SESSION: {"runtime": "Runtime", "engine": "ICudaEngine", "context": "IExecutionContext"},
}
"""What the code's variables are, by file; those of an object too, whose names begin with an underscore."""


@pytest.mark.parametrize("file", TYPES)
def test_every_name_exists_in_every_version(file):
    source = (ROOT / file).read_text()
    assert missing(source, TYPES[file]) == set()
    attributes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute) and chain(node))
    used = {own(chain(node))[0] for node in attributes if len(own(chain(node))) > 1}
    assert used >= set(TYPES[file])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("config.set_flag(trt.BuilderFlag.STRICT_NANS)", "BuilderFlag.STRICT_NANS is not in 10.3.0"),
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16 is not in 11.0.0, 11.4.0, rtx-1.7.1"),
        ("network.add_plugin([], None)", "INetworkDefinition.add_plugin is not in 10.3.0, rtx-1.7.1"),
        ("trt.IStreamWriter()", "IStreamWriter is not in 10.3.0, 10.9.0"),
        ("builder.made_up()", f"Builder.made_up is not in {', '.join(API['versions'])}"),
    ],
)
def test_a_name_that_a_version_lacks_is_found(line, said):
    source = (ROOT / BUILDER).read_text()
    found = missing(f"{source}\n\ndef more(trt, builder, network, config):\n    {line}\n", TYPES[BUILDER])
    assert len(found) == 1
    assert found.pop() == said


def test_a_name_of_an_object_is_found_too():
    source = (ROOT / SESSION).read_text()
    found = missing(f"{source}\n\ndef more(self):\n    self._context.is_stream_capturable()\n", TYPES[SESSION])
    assert len(found) == 1
    assert found.pop().startswith("IExecutionContext.is_stream_capturable is not in 10.3.0, ")
