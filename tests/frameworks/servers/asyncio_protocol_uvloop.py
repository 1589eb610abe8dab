"""The same as `asyncio_protocol`, on uvloop."""

from __future__ import annotations

import uvloop

from tests.frameworks.servers.asyncio_protocol import main

uvloop.run(main())
