"""HTTP: certificates that a proxy forwards, the authorizer that it asks, and the trust bundle, served."""

from meshid.http.aiohttp_middleware import aiohttp_middleware
from meshid.http.authorizer import authorizer
from meshid.http.bundle import bundle_app
from meshid.http.forwarded import Forwarded
from meshid.http.private_socket import private_socket

__all__ = ["Forwarded", "aiohttp_middleware", "authorizer", "bundle_app", "private_socket"]
