"""HTTP: the trust bundle as an ASGI application."""

from meshid.http.bundle import bundle_app

__all__ = ["bundle_app"]
