"""Sanic with a list of contexts, from which an SNI callback of its own chooses."""

from __future__ import annotations

from tests.frameworks.servers.sanic_server import mesh, serve

serve([mesh.server_context(http=True)])
