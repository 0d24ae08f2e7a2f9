"""A summary of how long each step of a search takes, in the format of clip-retrieval."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import Histogram

from cliphouse.server.metrics import Metrics


@dataclass(frozen=True)
class Step:
    """A step of a search: the number of calls, and their mean time in seconds."""

    name: str
    description: str
    calls: int
    average: float


def summarise_metrics(metrics: Metrics) -> str:
    """Write a sentence and a table, slowest step first. ``proportion`` is of a whole request."""
    whole = _step(metrics.full)
    if whole.calls == 0:
        return "No request yet, go do some"
    parts = (
        *(metrics.download, metrics.image_prepro, metrics.image_clip, metrics.text_clip),
        *(metrics.queue_wait, metrics.knn_index, metrics.metadata_get),
    )
    steps = sorted(map(_step, parts), key=lambda step: -step.average)
    lines = [
        f"Among {whole.calls} calls to the knn end point with an average latency of "
        f"{whole.average:.4f}s per request, the step costs are (in order): ",
        "",
        f"{'name':<28}{'description':<60}{'calls':>8}{'average':>10}{'proportion':>12}",
    ]
    for step in steps:
        share = step.average / whole.average if whole.average else 0.0
        lines.append(
            f"{step.name:<28}{step.description:<60}{step.calls:>8}"
            f"{step.average:>9.4f}s{share:>12.1%}"
        )
    return "\n".join(lines) + "\n"


def _step(metric: Histogram) -> Step:
    family = next(iter(metric.collect()))
    totals = {sample.name.removeprefix(family.name): sample.value for sample in family.samples}
    calls = int(totals["_count"])
    average = totals["_sum"] / calls if calls else 0.0
    return Step(family.name, family.documentation, calls, average)
