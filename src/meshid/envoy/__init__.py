"""A policy as RBAC filters of Envoy."""

from meshid.envoy.exporting import Exported, export_rbac
from meshid.errors import NotExportable

__all__ = ["Exported", "NotExportable", "export_rbac"]
