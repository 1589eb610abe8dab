"""The same as `asyncio_streams`, on uvloop."""

from __future__ import annotations

import uvloop

from tests.frameworks.servers.asyncio_streams import main

uvloop.run(main())
