"""What frameworks do to a path after it was judged: some of them route another one than they were given.

Nothing is imported: a framework is known by the package that defines its class. What is wrapped in something
that does not tell what it wraps, as in ``.app``, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshid.tls.connection_of import packages_of

_MAX_DEPTH = 32
"""Middleware and mounts around an application; more is one that makes what it wraps when it is asked."""

_WRAPPED = ("app", "__self__", "wsgi_app", "asgi_app", "wsgi_application")
"""Where middleware, a bound method, Flask, Quart and asgiref's ``WsgiToAsgi`` have what they call."""


class RoutingHabits:
    """What an application, and all that is mounted in it, does to paths.

    Args:
        app: The application.

    Raises:
        ValueError: If it cuts something off a path: FastAPI's own ``root_path`` takes the place of the
            server's, and both ``/api/x`` and ``/x`` are routed.
    """

    def __init__(self, app: object) -> None:
        self._always = False
        self._mapped: list[Any] = []
        for each in _inside(app):
            packages = packages_of(each)
            if "fastapi" in packages:
                _check_root_path(each)
            self._always |= "litestar" in packages
            if packages & {"flask", "quart"} and hasattr(each, "url_map"):
                self._mapped.append(each)

    def drops_last_slash(self, path: str) -> bool:
        """Tell whether *path* may be routed without the slash at its end.

        A rule for ``/x/*`` matches ``/x/``, and then would open ``/x``. Litestar does that, and Flask and
        Quart where ``strict_slashes`` is false, which may be so of one route, and of one that is added late.
        """
        if path == "/" or not path.endswith("/"):
            return False
        return self._always or any(
            not rule.strict_slashes and not rule.rule.endswith("/")
            for each in self._mapped
            for rule in each.url_map.iter_rules()
        )


def _check_root_path(app: object) -> None:
    root = getattr(app, "root_path", "")
    if root:
        msg = f"FastAPI(root_path={root!r}) routes two paths as one; give the root_path to the server"
        raise ValueError(msg)


def _inside(app: object) -> Iterator[object]:
    # By identity, and kept: another object could get the same one.
    seen: dict[int, object] = {}
    level = [app]
    for _ in range(_MAX_DEPTH):
        new = {id(each): each for each in level if id(each) not in seen}
        yield from new.values()
        seen |= new
        level = [inner for each in new.values() for inner in _next_to(each)]


def _next_to(app: object) -> Iterator[object]:
    # The first alone: of a mock, which has them all, each would have them all again.
    yield from [inner for name in _WRAPPED if (inner := getattr(app, name, None)) is not None][:1]
    routes = getattr(app, "routes", None)  # of Starlette
    if isinstance(routes, list | tuple):
        yield from routes
    mounts = getattr(app, "mounts", None)  # of Werkzeug's DispatcherMiddleware
    if isinstance(mounts, Mapping):
        yield from mounts.values()
