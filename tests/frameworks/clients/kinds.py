"""What a client of the table is: a block in which it can be asked, over and over, with one pool."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeAlias

from anyio.from_thread import start_blocking_portal

from meshid import MeshContext

Ask: TypeAlias = Callable[[], tuple[object, object]]
"""Asks once; returns the answer, and what shows the connection (for `peer_of`), None if nothing does."""

AsyncAsk: TypeAlias = Callable[[], Awaitable[tuple[object, object]]]

Client: TypeAlias = Callable[[MeshContext, int], AbstractContextManager[Ask]]
"""Makes a client with a context, for the server at a port of localhost."""

AsyncClient: TypeAlias = Callable[[MeshContext, int], AbstractAsyncContextManager[AsyncAsk]]


def in_loop(client: AsyncClient, backend: str = "asyncio", **options: Any) -> Client:  # noqa: ANN401 - anyio's own
    """Run a client in a loop in a thread of its own, so that its pool outlives one question."""

    @contextlib.contextmanager
    def entered(context: MeshContext, port: int) -> Iterator[Ask]:
        with (
            start_blocking_portal(backend, options) as portal,
            portal.wrap_async_context_manager(client(context, port)) as ask,
        ):
            yield lambda: portal.call(ask)

    return entered
