"""The SPIFFE Workload API, as SPIRE and others serve it on each node (extra ``spire``)."""

from meshid.sources.workload.source import WorkloadApi

__all__ = ["WorkloadApi"]
