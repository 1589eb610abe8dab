"""asyncio's protocol owns an SSL object: it ends the connection, if it is still there."""

from __future__ import annotations

import asyncio
import gc
from asyncio.sslproto import SSLProtocol

from meshid.tls.asyncio_owner import Owner


class NoTransport(SSLProtocol):
    """A protocol that nothing has to close."""

    def __init__(self) -> None:
        pass


def test_a_protocol_that_is_gone_is_not_kept_alive_and_has_nothing_to_end() -> None:
    async def close() -> list[object]:
        failed: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
        protocol = NoTransport()
        owner = Owner(protocol)
        del protocol
        gc.collect()
        assert not owner.is_open
        assert owner.peername is None
        owner.close(ConnectionAbortedError())
        # The call that `close` has scheduled comes before this one.
        await asyncio.sleep(0)
        return failed

    assert asyncio.run(close()) == []
