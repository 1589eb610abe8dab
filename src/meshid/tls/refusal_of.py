"""The refusal behind the exception that a library has made of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import cast

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
    ahead: deque[object] = deque([exception])
    seen: dict[int, object] = {}
    while ahead and len(seen) < MAX_EXCEPTIONS:
        here = ahead.popleft()
        # Not `isinstance`, which asks the object as well.
        if issubclass(type(here), PeerRejected):
            return cast("PeerRejected", here)
        if issubclass(type(here), BaseException) and id(here) not in seen:
            seen[id(here)] = here
            ahead.extend(_behind(cast("BaseException", here)))
    return None


def _behind(exception: BaseException) -> Iterator[object]:
    for read in _WAYS:
        # Its own class may have made anything of them.
        with suppress(Exception):
            yield from islice(read(exception), MAX_EXCEPTIONS)


def _members(exception: BaseException) -> Iterable[object]:
    return exception.exceptions if isinstance(exception, BaseExceptionGroup) else ()


_WAYS: tuple[Callable[[BaseException], Iterable[object]], ...] = (
    lambda exception: (exception.__cause__,),
    lambda exception: exception.args,
    lambda exception: vars(exception).values(),
    _members,
    lambda exception: (exception.__context__,),
)
"""From an exception to others, the nearest first."""
