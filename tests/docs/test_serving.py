"""The files in the guide to servers: their fields are those of Kubernetes and KServe, and their queries are PromQL.

The judges are the classes of the Python clients, which are generated from the schemas of both, and Prometheus' grammar.
"""

from __future__ import annotations

import ast
import copy
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .blocks import ROOT, blocks

pytestmark = pytest.mark.releases

yaml = pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed").YAML(typ="safe")
PACKAGES = Path(sys.prefix) / "kubernetes"
KINDS = {
    ("apps/v1", "Deployment"): "V1Deployment",
    ("v1", "Service"): "V1Service",
    ("autoscaling/v2", "HorizontalPodAutoscaler"): "V2HorizontalPodAutoscaler",
    ("serving.kserve.io/v1beta1", "InferenceService"): "V1beta1InferenceService",
}
PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "object": object}
DOCUMENTS = [
    document
    for block in blocks(ROOT / "docs" / "how-to" / "serving.md")
    if block.language == "yaml"
    for document in yaml.load_all(block.code)
]
MANIFESTS = [document for document in DOCUMENTS if "kind" in document]
ALERTS = [rule for document in DOCUMENTS for group in document.get("groups", ()) for rule in group["rules"]]


@functools.cache
def fields(model: str) -> dict[str, str] | None:
    """The types of the fields of a class of the clients, by their names in YAML; None if there is no such class."""
    file = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", model).lower() + ".py"
    for folder in ("kubernetes/client/models", "kserve/models"):
        path = PACKAGES / folder / file
        if not path.is_file():
            continue
        found: dict[str, dict[str, str]] = {}
        for node in ast.walk(ast.parse(path.read_text())):
            target = node.target if isinstance(node, ast.AnnAssign) else None
            target = node.targets[0] if isinstance(node, ast.Assign) else target
            if isinstance(target, ast.Name) and target.id in ("openapi_types", "attribute_map"):
                found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        return {name: found["openapi_types"][own] for own, name in found["attribute_map"].items()}
    return None


def wrong(value: Any, kind: str, at: str) -> Iterator[str]:
    """The places in a document that do not fit a type of the schema."""
    many, each = re.fullmatch(r"list\[(.*)\]", kind, re.I), re.fullmatch(r"dict[\[(]str, (.*)[\])]", kind, re.I)
    if many or each:
        if not isinstance(value, list if many else dict):
            yield f"{at} is {value!r}, and not {kind}"
            return
        items = enumerate(value) if many else value.items()
        for name, item in items:
            yield from wrong(item, (many or each)[1], f"{at}.{name}")  # type: ignore[index]
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]):
            yield f"{at} is {value!r}, and not {kind}"
    elif (known := fields(kind)) is None:
        if kind != "ResourceQuantity" and not isinstance(value, (str, int)):
            yield f"{at} is a {kind}, which the clients do not have"
    elif not isinstance(value, dict):
        yield f"{at} is {value!r}, and not {kind}"
    else:
        for name, item in value.items():
            if name in known:
                yield from wrong(item, known[name], f"{at}.{name}")
            else:
                yield f"{at} has no field {name}"


@pytest.mark.parametrize("document", MANIFESTS, ids=lambda document: document["kind"])
def test_every_field_of_a_manifest_is_one_of_the_schema(document):
    assert list(wrong(document, KINDS[document["apiVersion"], document["kind"]], document["kind"])) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["spec", "replica"], 2, "Deployment.spec has no field replica"),
        (["spec", "replicas"], "2", "Deployment.spec.replicas is '2', and not int"),
        (["spec", "template", "spec", "containers", 0, "image"], 3, "Deployment.spec.template.spec.containers.0.image"),
    ],
)
def test_a_wrong_field_is_found(path, value, said):
    document = copy.deepcopy(MANIFESTS[0])
    functools.reduce(lambda at, name: at[name], path[:-1], document)[path[-1]] = value
    assert said in " ".join(wrong(document, "V1Deployment", "Deployment"))


def test_the_page_has_each_kind():
    assert sorted(document["kind"] for document in MANIFESTS) == sorted(kind for _, kind in KINDS)
    assert len(ALERTS) >= 6


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_is_a_query_that_prometheus_reads(rule, monkeypatch):
    monkeypatch.syspath_prepend(PACKAGES)
    import promql_parser

    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert promql_parser.parse(rule["expr"])
    with pytest.raises(ValueError, match="parse|expr|unexpected|invalid"):
        promql_parser.parse(rule["expr"] + " >")
