"""Calls of gRPC: each is judged before it reaches a handler, and ends when its peer may no longer be there.

::

    interceptor = PeerInterceptor(mesh)
    server = grpc.server(ThreadPoolExecutor(), interceptors=[interceptor])   # or grpc.aio.server
    server.add_secure_port("[::]:8443", interceptor.server_credentials())

The extra ``grpc``; without it, importing this raises `MissingExtra`.
"""

from meshid.errors import MissingExtra

try:
    import grpc as _  # noqa: F401 - to say what is missing
except ImportError as error:
    extra = "grpc"
    raise MissingExtra(extra) from error

from meshid.grpc.peer_interceptor import PeerInterceptor

__all__ = ["PeerInterceptor"]
