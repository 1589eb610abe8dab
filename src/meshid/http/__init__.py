"""HTTP: certificates that a proxy forwards, and the trust bundle as an ASGI application."""

from meshid.http.bundle import bundle_app
from meshid.http.forwarded import Forwarded

__all__ = ["Forwarded", "bundle_app"]
