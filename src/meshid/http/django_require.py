"""`require`, a decorator for the views of Django: may the peer reach this target, too?

::

    @require("refunds")
    def refund(request):
        peer = peer_of(request)

It needs `meshid.http.WSGIMiddleware` around the application of ``wsgi.py`` (or `meshid.http.ASGIMiddleware`
around that of ``asgi.py``), which has found the peer and the request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from meshid.admission.question import Question
from meshid.http.judged_request import may_reach

_View = TypeVar("_View", bound=Callable[..., Any])


def require(target: str) -> Callable[[_View], _View]:
    """Return a decorator: a view is called if the peer may reach *target* with this request, on record.

    For anybody else it raises ``PermissionDenied``, which is 403. Where the view is a class:
    ``@method_decorator(require("refunds"), name="dispatch")``.

    The view raises `NoPeer` without the middleware.

    Args:
        target: What the peer must be allowed to reach.

    Raises:
        TypeError: If *target* is no str.
    """
    target = Question(target=target).required_target

    def check(request: HttpRequest) -> None:
        if not may_reach(request, target):
            raise PermissionDenied

    def decorate(view: _View) -> _View:
        # Django calls a view that is a coroutine function in another way.
        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def judged_async(request: HttpRequest, *args: object, **kwargs: object) -> object:
                check(request)
                return await view(request, *args, **kwargs)

            return cast("_View", judged_async)

        @wraps(view)
        def judged(request: HttpRequest, *args: object, **kwargs: object) -> object:
            check(request)
            return view(request, *args, **kwargs)

        return cast("_View", judged)

    return decorate
