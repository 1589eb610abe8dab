"""The metrics for OpenTelemetry (extra ``opentelemetry``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from meshid.errors import MissingExtra
from meshid.mesh import Mesh
from meshid.metrics.figures import FIGURES, Figure

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation


def to_opentelemetry(mesh: Mesh, meter: Meter | None = None) -> None:
    """Register the metrics of a mesh with OpenTelemetry.

    Args:
        mesh: The mesh.
        meter: The meter that observes them; one of the process's meter provider if None.

    Raises:
        MissingExtra: If the extra ``opentelemetry`` is not installed.
    """
    try:
        from opentelemetry.metrics import get_meter  # noqa: PLC0415 - the extra
    except ImportError as error:
        extra = "opentelemetry"
        raise MissingExtra(extra) from error
    meter = get_meter("meshid") if meter is None else meter
    for figure in FIGURES:
        create = meter.create_observable_counter if figure.is_counter else meter.create_observable_gauge
        create(figure.name, [_observer(figure, mesh)], "s" if figure.is_time else "1", figure.about)


def _observer(figure: Figure, mesh: Mesh) -> Callable[[CallbackOptions], Iterator[Observation]]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415 - the extra

    def observe(_: CallbackOptions) -> Iterator[Observation]:
        return (Observation(value, dict(labels)) for labels, value in figure.samples(mesh))

    return observe
