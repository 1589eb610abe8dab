"""The refusal behind the exception that a library has made of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from meshid.errors import PeerRejected

MAX_EXCEPTIONS = 256
"""Exceptions that are looked at. A pool that has tried some addresses makes a dozen."""


def refusal_of(exception: BaseException | None) -> PeerRejected | None:
    """Return the refusal that an exception comes from; None if there is none. It raises nothing.

    Clients wrap what a handshake raises, some of them several times: it is looked for in causes, contexts,
    the members of groups, and whatever else an exception has of other exceptions (``.reason`` of urllib3 and
    `urllib`, ``.args`` of requests). The nearest one is returned. What was only being handled when the
    exception was raised counts as well, as its context.

    Args:
        exception: What the library has raised; None is allowed, as tasks and futures return it.
    """
    ahead = deque([exception] if isinstance(exception, BaseException) else [])
    seen: dict[int, BaseException] = {}
    while ahead and len(seen) < MAX_EXCEPTIONS:
        here = ahead.popleft()
        if isinstance(here, PeerRejected):
            return here
        if id(here) not in seen:
            seen[id(here)] = here
            ahead.extend(each for each in _behind(here) if isinstance(each, BaseException))
    return None


def _behind(exception: BaseException) -> Iterator[object]:
    yield exception.__cause__
    # Its own class may have made anything of them.
    with suppress(Exception):
        yield from islice(exception.args, MAX_EXCEPTIONS)
        yield from islice(vars(exception).values(), MAX_EXCEPTIONS)
    if isinstance(exception, BaseExceptionGroup):
        yield from islice(exception.exceptions, MAX_EXCEPTIONS)
    yield exception.__context__
