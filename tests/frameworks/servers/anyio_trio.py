"""The same as `anyio_asyncio`, on trio."""

from __future__ import annotations

import anyio

from tests.frameworks.servers.anyio_asyncio import main

anyio.run(main, backend="trio")
