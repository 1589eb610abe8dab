"""aiohttp's server, on uvloop."""

from __future__ import annotations

import uvloop

from tests.frameworks.servers.aiohttp_server import serve

serve(uvloop.new_event_loop())
