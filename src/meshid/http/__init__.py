"""HTTP: middleware, certificates that a proxy forwards, the authorizer that it asks, and our trust bundle."""

from meshid.http.aiohttp_middleware import aiohttp_middleware
from meshid.http.asgi_middleware import ASGIMiddleware
from meshid.http.authorizer import authorizer
from meshid.http.bundle import bundle_app
from meshid.http.forwarded import Forwarded
from meshid.http.private_socket import private_socket
from meshid.http.wsgi_middleware import WSGIMiddleware

__all__ = [
    "ASGIMiddleware",
    "Forwarded",
    "WSGIMiddleware",
    "aiohttp_middleware",
    "authorizer",
    "bundle_app",
    "private_socket",
]
