"""What our ASGI applications have in common (ASGI 3.0)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from typing import Any, TypeAlias

Pairs: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Headers: their names, which a server writes in lower case, and values."""

# As Starlette types them, so that its users can pass theirs and ours to each other.
Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
"""An application (ASGI 3.0)."""

AnyApp: TypeAlias = Callable[..., Awaitable[None]]
"""An application of any framework: each has types of its own for the same three arguments."""


async def is_http(scope: Scope, receive: Receive, send: Send) -> bool:
    """Tell whether a scope is a request; the start and the end of the server are dealt with here.

    Raises:
        ValueError: If it is anything else, as ASGI prescribes for a scope that an application does not know.
    """
    if scope["type"] == "http":
        return True
    if scope["type"] != "lifespan":
        msg = f"this application answers over http only, not over {scope['type']}"
        raise ValueError(msg)
    phase = ""
    while phase != "lifespan.shutdown":
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
    return False
