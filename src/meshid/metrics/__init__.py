"""Counters and gauges of a mesh, for Prometheus and OpenTelemetry (extras of the same names).

::

    meshid.metrics.to_prometheus(mesh)        # in prometheus_client's registry
    meshid.metrics.to_opentelemetry(mesh)     # with the meter of the process

Both read the mesh when metrics are collected, and cost nothing in between. No metric has a label for a
single peer: peers choose their names, so there could be any number of time series.
"""

from meshid.metrics.opentelemetry import to_opentelemetry
from meshid.metrics.prometheus import to_prometheus

__all__ = ["to_opentelemetry", "to_prometheus"]
