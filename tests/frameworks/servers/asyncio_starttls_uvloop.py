"""The same as `asyncio_starttls`, on uvloop."""

from __future__ import annotations

import uvloop

from tests.frameworks.servers.asyncio_starttls import main

uvloop.run(main())
