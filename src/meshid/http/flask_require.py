"""`require`, a decorator for the views of Flask: may the peer reach this target, too?

::

    @app.post("/v1/refunds")
    @require("refunds")
    def refund():
        peer = peer_of(request)

It needs `meshid.http.WSGIMiddleware` around the application, which has found the peer and the request.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import ParamSpec, TypeVar

import flask

from meshid.admission.question import Question
from meshid.http.judged_request import may_reach

_P = ParamSpec("_P")
_R = TypeVar("_R")


def require(target: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator: a view is called if the peer may reach *target* with this request, on record.

    Anybody else gets Flask's 403. It stands below the route; above it, Flask would never call it. For a
    whole blueprint: ``blueprint.before_request(require("refunds")(lambda: None))``.

    The view raises `NoPeer` without the middleware.

    Args:
        target: What the peer must be allowed to reach.

    Raises:
        TypeError: If *target* is no str.
    """
    target = Question(target=target).required_target

    def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(view)
        def judged(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if not may_reach(flask.request, target):
                flask.abort(HTTPStatus.FORBIDDEN)
            # A view may be a coroutine function.
            return flask.current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

        return judged

    return decorate
