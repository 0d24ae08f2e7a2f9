"""The files in deploy/, as far as they can be judged without Docker, Prometheus and Grafana."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cliphouse.server.metrics import Metrics

DEPLOY = Path(__file__).parent.parent / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
_SAMPLES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
    "info": ("_info",),
}


def read(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def exposed() -> set[str]:
    """Every name that the server's /metrics may tell a figure of."""
    metrics = Metrics()
    waiting = SimpleNamespace(waiting=0, running=0)
    metrics.watch(waiting, waiting, SimpleNamespace(bytes=0))
    return {
        family.name + ending
        for family in metrics.registry.collect()
        for ending in _SAMPLES.get(family.type, ("",))
    }


def asked(expression: str) -> set[str]:
    """The metrics in a PromQL expression: words that are no function, no label and no keyword."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|without|on|ignoring)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*\b(?!\s*\()", bare))


def test_asked_finds_metrics_and_nothing_else() -> None:
    expression = (
        'histogram_quantile(0.5, sum by (le) (rate(a_bucket{job="x"}[$__rate_interval]))) / b'
    )
    assert asked(expression) == {"a_bucket", "b"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_asks_for_what_the_server_exposes(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    source = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    known = exposed()
    assert dashboard["panels"]
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        for target in panel["targets"]:
            assert asked(target["expr"]), panel["title"]
            assert asked(target["expr"]) <= known, panel["title"]


def test_panels_do_not_lie_on_each_other() -> None:
    for path in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(path.read_text())["panels"]:
            place = panel["gridPos"]
            cells = {
                (place["x"] + x, place["y"] + y)
                for x in range(place["w"])
                for y in range(place["h"])
            }
            assert place["x"] + place["w"] <= 24 and not cells & taken
            taken |= cells


def test_compose_refers_to_files_and_services_that_there_are() -> None:
    compose = read("compose.yaml")
    services = compose["services"]
    assert {"cliphouse", "prometheus", "grafana"} <= set(services)
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert set(service["secrets"]) <= set(compose["secrets"])
        for mount in service["volumes"]:
            source = mount.rpartition(":/")[0].split(":/")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), mount
            elif not source.startswith("$"):
                assert source in compose["volumes"], mount
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")
    build = services["cliphouse"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]) == DEPLOY / ".." / "deploy/Dockerfile"


def test_images_are_pinned() -> None:
    images = [s["image"] for s in read("compose.yaml")["services"].values() if "image" in s]
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert images
    for image in images:
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+[\w.-]*", image), image


def test_the_image_runs_as_nobody_special_and_tells_its_health() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in ("root", "0")
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
