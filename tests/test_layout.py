"""The limits of the house: small folders, modules and functions, one name a module, a test file a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGES = {
    "tcja_deploy": ROOT / "tcja_deploy",
    "tcja_exporters": ROOT / "exporters" / "tcja_exporters",
    "tcja_runtime": ROOT / "runtime" / "tcja_runtime",
}
FILES = sorted(file for package in PACKAGES.values() for file in package.rglob("*.py"))

TEST_MODULES = {file.stem for file in TESTS.rglob("test_*.py")}

MODULES_OF_A_FOLDER, LINES_OF_A_MODULE, LINES_OF_A_FUNCTION, ARGUMENTS = 12, 400, 60, 6
MANY_ARGUMENTS = {"tcja_runtime.neuron.NeuronSpec.linear", "tcja_runtime.neuron.NeuronSpec.leaky"}
"""Functions that take each constant of a neuron. Commands need not be named: they have a line and an argument for each
option, which are not counted."""
ALIASES = {"tcja_deploy.build"}
"""Modules that import one of ours under another name, as its own name is that of a function there."""
TESTED_THROUGH = {
    "deploy/api/test_export": (
        "api.bundles api.options api.results.bench api.results.build api.results.check api.results.comparison "
        "api.results.export api.results.result api.results.sign api.results.verify"
    ),
    "deploy/bench/test_benchmark": "bench.memory bench.results bench.timing cli.bench texts.bench",
    "deploy/cli/test_app": (
        "console formatting packages cli.options cli.build cli.run texts.build texts.options texts.parity"
    ),
    "deploy/cluster/test_cluster": "cluster.pipeline cluster.worker verify.network verify.with_ray",
    "deploy/compare/test_comparison": "cli.fleet.compare provenance texts.fleet.compare verify.answers",
    "deploy/check/test_checker": "check.modules check.result",
    "deploy/cli/test_check": "texts.check",
    "deploy/cli/test_doctor": "texts.doctor",
    "deploy/cli/test_export": "export.models export.network export.pipeline export.request texts.export",
    "deploy/cli/test_help": "cli.help.commands cli.help.descriptions",
    "deploy/cli/test_inspect": "inspect.describe inspect.estimate texts.inspect.estimate texts.inspect.facts",
    "deploy/test_origin": "bundle.origin.origin",
    "deploy/test_sign": "cli.fleet.sign texts.fleet.sign",
    "deploy/cli/test_stream": (
        "stream.opening stream.output streaming.runner streaming.single_window streaming.stopping"
    ),
    "deploy/export/test_user_models": "export.certify",
    "deploy/parity/test_compare": "budget parity.checks parity.failures parity.judge parity.verdict",
    "deploy/consistency/test_contradictions": "bundle.metadata consistency.bounds",
    "deploy/parity/test_mutations": "parity.bisect parity.diagnose texts.verify",
    "deploy/package/test_isaac_ros": "package.engine",
    "deploy/package/test_onnx_stream": "package.agreement package.served",
    "deploy/package/test_triton": (
        "cli.fleet.package package.configuration package.options package.repository package.windows "
        "texts.fleet.package triton.server triton.windows"
    ),
    "deploy/package/test_streams": "triton.streams",
    "deploy/report/test_page": (
        "report.html report.network_profile report.page_data report.plots report.sections.anytime "
        "report.sections.behaviour report.sections.comparison report.sections.description report.sections.next_steps "
        "report.sections.size report.sections.summary"
    ),
    "deploy/report/test_answers": "report.sections.answers report.sections.confusion",
    "deploy/report/test_browser": "report.style",
    "deploy/report/test_drawing": "report.sections.drawing",
    "deploy/report/test_picture": "report.pixels",
    "deploy/run/test_classify": "backends.scores network.classified texts.run",
    "deploy/run/test_data": "parity.classify",
    "exporters/checkpoint/test_identify": "checkpoint.spellings checkpoint.trained_network networks.base",
    "exporters/costs/test_roofline": "costs.nodes",
    "exporters/graph/test_export": "reference.recorder reference.layer_recorder",
    "exporters/graph/test_stepwise": "graph.step_joining modules.layers time_forms.stepwise",
    "exporters/time_forms/test_time_forms": (
        "time_forms.neuron_step time_forms.nodes time_forms.scan time_forms.unrolled"
    ),
    "exporters/libraries/test_recognition": "libraries.norse libraries.snntorch",
    "exporters/networks/test_cifar10dvs": "networks.shared.vggsnn",
    "exporters/networks/test_ncaltech101": (
        "networks.tet_ncaltech101 networks.shared.cextnet networks.shared.event_sizes"
    ),
    "exporters/passes/test_passes": "passes.base",
    "exporters/reference/test_bounds": "reference.propagation reference.rules.elementwise reference.rules.products",
    "exporters/reference/rules/test_rules": (
        "reference.rules.functions reference.rules.normalizations reference.rules.reductions reference.rules.selections"
    ),
    "exporters/user_models/test_usage": "user_models.running",
    "runtime/backends/test_onnxruntime": "backends.select backends.session",
    "runtime/backends/test_probe": "reference.taps evidence.trace",
    "runtime/backends/test_widest": "evidence.largest_bounds model_file.magnitudes",
    "runtime/backends/test_stepwise": "backends.stepwise_session bundle.stepwise",
    "runtime/bundle/test_bundle": (
        "bundle.engines bundle.manifest bundle.parity_summary bundle.sidecar bundle.network_signature choices"
    ),
    "runtime/test_neuron": "neuron_rules",
    "runtime/signing/test_detached": "signing.programs",
    "runtime/data/test_contract": "data.split_rules",
    "runtime/data/test_dataset": "data.windows files.npz",
    "runtime/data/test_event_counts": "data.resizing",
    "runtime/data/test_integration": "data.frame_edges",
    "runtime/events/test_arrays": ("events.formats.arrays.columns events.formats.arrays.numpy_files files.npy"),
    "runtime/events/test_cameras": "events.formats.evt.evt21 events.formats.evt.header",
    "runtime/events/test_damage": "events.header",
    "runtime/events/test_hdf5": (
        "events.formats.arrays.hdf5 events.formats.arrays.hdf5_checks events.formats.arrays.hdf5_child "
        "events.formats.arrays.hdf5_process"
    ),
    "runtime/events/test_rosbag2": "events.formats.event_packets events.formats.rosbag2",
    "runtime/events/test_recording": "events.byte_recording events.event events.formats.packages events.formats.unread",
    "runtime/events/test_round_trips": (
        "events.formats.aedat2 events.formats.aedat3 events.formats.aedat4 events.formats.aedat4_child "
        "events.formats.aedat4_packets events.formats.atis events.formats.dat events.formats.evt.evt2 "
        "events.formats.evt.evt3 events.formats.registry"
    ),
    "runtime/events/test_sources": "events.byte_source events.sockets",
    "runtime/data/test_recordings": "events.labels files.content",
    "runtime/evidence/test_anytime": "evidence.predictions",
    "deploy/verify/test_verifier": "bundle.conformance verify.backend_proof verify.evidence verify.options",
    "runtime/machine/test_power": "machine.system_readings",
    "runtime/model_file/test_half_currents": "model_file.layer_tensors",
    "runtime/model_file/test_scan_pooling": "model_file.tensor_names",
    "runtime/network/test_network": "network.info network.prediction_stream network.stepwise",
    "runtime/streaming/test_stream": "streaming.results",
    "runtime/tensorrt/plugin/test_gpu": "tensorrt.plugin.launch",
    "runtime/tensorrt/plugin/test_model": "tensorrt.plugin.node",
    "runtime/tensorrt/plugin/test_ptx": "tensorrt.plugin.nvrtc",
    "runtime/tensorrt/plugin/test_registry": "tensorrt.plugin.ahead_of_time tensorrt.plugin.at_run_time",
    "runtime/tensorrt/test_build": "tensorrt.build_job tensorrt.builder_process",
    "runtime/network/test_cameras": "network.camera_messages streaming.packets",
    "deploy/test_board": "parity.engine tensorrt.timing_cache",
    "deploy/export/test_time_form": "export.trials tensorrt.part_session",
}
"""Test files, and the modules without one of their own that they test (below their package)."""


def module_name(file: Path) -> str:
    """The full name of a module, such as tcja_runtime.events.clock."""
    package = next(package for package in PACKAGES.values() if package in file.parents)
    return ".".join(file.relative_to(package.parent).with_suffix("").parts)


def functions(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function in a node by its full name, those of classes and of functions too."""
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, (ast.FunctionDef, ast.ClassDef))
        name = f"{inside}.{child.name}" if named else inside
        if isinstance(child, ast.FunctionDef):
            yield name, child
        yield from functions(child, name)


def test_a_folder_has_few_modules():
    folders = {file.parent for file in FILES}
    counts = {str(f): len([m for m in f.glob("*.py") if not m.stem.startswith("__")]) for f in folders}
    assert {folder: n for folder, n in counts.items() if n > MODULES_OF_A_FOLDER} == {}


def test_a_module_is_short():
    lengths = {module_name(file): len(file.read_text().splitlines()) for file in FILES}
    assert {name: n for name, n in lengths.items() if n > LINES_OF_A_MODULE} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_function_is_short_and_takes_few_arguments(package):
    long, many = {}, {}
    for file in (file for file in FILES if PACKAGES[package] in file.parents):
        for name, function in functions(ast.parse(file.read_text()), module_name(file)):
            of = function.args
            arguments = [a for a in (*of.posonlyargs, *of.args, *of.kwonlyargs) if a.arg not in ("self", "cls")]
            command = name.startswith("tcja_deploy.cli.") and name.split(".")[-2] == function.name.rstrip("_")
            lines = function.end_lineno - (function.body[0].lineno if command else function.lineno) + 1
            if lines > LINES_OF_A_FUNCTION:
                long[name] = lines
            if len(arguments) > ARGUMENTS and name not in MANY_ARGUMENTS and not command:
                many[name] = len(arguments)
    assert (long, many) == ({}, {})


def test_a_module_has_one_name():
    """No module of ours is imported under another one."""
    modules = {module_name(file).removesuffix(".__init__") for file in FILES}
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                if any(alias.asname and origin + alias.name in modules for alias in node.names):
                    found.add(module_name(file))
    assert found - ALIASES == set()


def test_python_is_started_in_one_place():
    """A child that is started in another way might take modules from the current folder."""
    assert [module_name(f) for f in FILES if "sys.executable" in f.read_text()] == ["tcja_runtime.machine.children"]


def test_a_module_has_a_test_file_at_the_same_path():
    elsewhere = {module: test for test, modules in TESTED_THROUGH.items() for module in modules.split()}
    assert len(elsewhere) == sum(len(modules.split()) for modules in TESTED_THROUGH.values())
    assert [test for test in TESTED_THROUGH if not (TESTS / f"{test}.py").is_file()] == []
    untested, modules = [], set()
    for file in (file for file in FILES if not file.stem.startswith("__")):
        package, _, name = module_name(file).partition(".")
        modules.add(name)
        own = TESTS / package.removeprefix("tcja_") / "/".join(name.split("."))
        if not own.with_name(f"test_{own.name}.py").is_file() and name not in elsewhere:
            untested.append(f"{package}.{name}")
    assert untested == []
    assert set(elsewhere) - modules == set()


def test_no_test_module_imports_another():
    """What several of them need stands in a module that is no test."""
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = (node.module or "").split(".")
                names += [alias.name for alias in node.names]
                assert not any(name in TEST_MODULES for name in names), file
