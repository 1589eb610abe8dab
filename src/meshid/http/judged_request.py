"""What our decorators for Flask and Django have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from meshid.decisions import Decision
from meshid.errors import NoPeer
from meshid.tls.connection_of import JUDGE, surroundings_of


def may_reach(request: object, target: str) -> bool:
    """Ask whether the peer of a request that our middleware has judged may reach another target, on record.

    Args:
        request: The request of a framework.
        target: What the peer must be allowed to reach.

    Raises:
        NoPeer: If no middleware of ours has judged the request.
    """
    for around in surroundings_of(request):
        if JUDGE in around:
            judge = cast("Callable[[str], Decision]", around[JUDGE])
            return bool(judge(target))
    msg = "no request was judged: put meshid.http.WSGIMiddleware or ASGIMiddleware around the application"
    raise NoPeer(msg)
