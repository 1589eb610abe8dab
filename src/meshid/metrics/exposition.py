"""The metrics as the text that Prometheus reads, for a process without `prometheus_client`.

https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from meshid.mesh import Mesh
from meshid.metrics.figures import FIGURES, Figure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def name_in_prometheus(figure: Figure) -> str:
    """Return the name of a figure, without the ``_total`` of a counter."""
    return figure.name.replace(".", "_") + ("_timestamp_seconds" if figure.is_time else "")


def exposition(mesh: Mesh, figures: Iterable[Figure] = FIGURES) -> str:
    """Return the current values of *figures* of a mesh."""
    return "".join(f"{line}\n" for figure in figures for line in _lines(figure, mesh))


def _lines(figure: Figure, mesh: Mesh) -> Iterator[str]:
    name = name_in_prometheus(figure) + ("_total" if figure.is_counter else "")
    yield f"# HELP {name} {figure.about}"
    yield f"# TYPE {name} {'counter' if figure.is_counter else 'gauge'}"
    for labels, value in figure.samples(mesh):
        yield f"{name}{_braced(labels)} {float(value)!r}"


def _braced(labels: Mapping[str, str]) -> str:
    return (
        "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"
        if labels
        else ""
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
