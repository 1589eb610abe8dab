"""What frameworks do to a path after it was judged: two of them route another one than they were given.

Nothing is imported: a framework is known by the package that defines its class. What is wrapped in something
that does not tell what it wraps, in ``.app``, cannot be seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshid.tls.connection_of import packages_of

_MAX_WRAPPED = 32
"""Middleware around an application; more is one that wraps itself."""


def check_root_path(app: object) -> None:
    """Check that the application does not cut anything off a path.

    FastAPI's own ``root_path`` takes the place of the server's, and both ``/api/x`` and ``/x`` are routed.

    Raises:
        ValueError: If it does.
    """
    for each in _wrapped(app):
        root = getattr(each, "root_path", "") if "fastapi" in packages_of(each) else ""
        if root:
            msg = f"FastAPI(root_path={root!r}) routes two paths as one; give the root_path to the server"
            raise ValueError(msg)


def drops_last_slash(app: object) -> bool:
    """Tell whether ``/x/``, which a rule for ``/x/*`` matches, is routed as ``/x``: Litestar does that."""
    return any("litestar" in packages_of(each) for each in _wrapped(app))


def _wrapped(app: object) -> Iterator[object]:
    for _ in range(_MAX_WRAPPED):
        yield app
        app = getattr(app, "app", None)
