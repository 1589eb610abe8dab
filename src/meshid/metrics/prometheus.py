"""The metrics for `prometheus_client` (extra ``prometheus``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshid.errors import MissingExtra
from meshid.mesh import Mesh
from meshid.metrics.exposition import name_in_prometheus
from meshid.metrics.figures import FIGURES, Figure

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric


def to_prometheus(mesh: Mesh, registry: CollectorRegistry | None = None) -> None:
    """Register the metrics of a mesh with `prometheus_client`.

    Args:
        mesh: The mesh.
        registry: The registry that collects them; the default registry of the process if None.

    Raises:
        MissingExtra: If the extra ``prometheus`` is not installed.
        ValueError: If the default registry already has the metrics of a mesh.
    """
    try:
        from prometheus_client import REGISTRY  # noqa: PLC0415 - the extra
    except ImportError as error:
        extra = "prometheus"
        raise MissingExtra(extra) from error
    (REGISTRY if registry is None else registry).register(_Collector(mesh))


class _Collector:
    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def collect(self) -> Iterator[Metric]:
        return (_metric(figure, self._mesh) for figure in FIGURES)


def _metric(figure: Figure, mesh: Mesh) -> Metric:
    from prometheus_client.metrics_core import Metric  # noqa: PLC0415 - the extra

    name = name_in_prometheus(figure)
    metric = Metric(name, figure.about, "counter" if figure.is_counter else "gauge")
    for labels, value in figure.samples(mesh):
        metric.add_sample(f"{name}_total" if figure.is_counter else name, dict(labels), value)
    return metric
