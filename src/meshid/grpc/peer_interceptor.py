"""`PeerInterceptor`: what a gRPC server is given."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from meshid.grpc.aio_call import AioCall
from meshid.grpc.call_judge import CallJudge
from meshid.grpc.judged_call import Handler
from meshid.grpc.server_certificates import ServerCertificates
from meshid.grpc.thread_call import ThreadCall
from meshid.mesh import Mesh


class PeerInterceptor(grpc.ServerInterceptor, aio.ServerInterceptor):
    """Judges each call of a server, `grpc.server` or `grpc.aio.server`; put it first among interceptors.

    To the policy, a call is the request ``POST /package.Service/Method``. A bearer token of an issuer of the
    policy, in the metadata ``authorization``, is judged with it. A peer without a certificate, or whose token
    is refused, gets ``UNAUTHENTICATED``, and one that may not make the call ``PERMISSION_DENIED``, whether
    there is such a method or not; the reason is in the audit event alone. Nothing of a refused call is
    read, and neither a handler nor another interceptor is asked about it. A call that runs is cancelled when
    its peer may no longer make it.

    In a handler, `peer_of` with its context returns the peer.

    Handlers of a `grpc.aio.server` must be ``async``.

    Args:
        mesh: Decides.
        target: What peers reach by calling; the mesh's service if None.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If nothing says what peers reach.

    Attributes:
        was_asked: Whether its server has asked it about a call yet. A server that serves and never asks was
            not given it.
    """

    was_asked: bool = False

    def __init__(self, mesh: Mesh, *, target: str | None = None) -> None:
        self._mesh = mesh
        self._judge = CallJudge(mesh, target)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:  # noqa: ANN401 - a handler, or what can be awaited for it
        """Return a handler that judges the call first; gRPC calls this.

        Args:
            continuation: Finds the handler of the application.
            handler_call_details: The method, and the metadata.
        """
        self.was_asked = True
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            call = ThreadCall(self._judge, handler_call_details, continuation)
            return call.handler_of(call.respond)
        return _handler(AioCall(self._judge, handler_call_details, continuation))

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials for ``add_secure_port``: those in force now for each new connection.

        gRPC asks each client for a certificate, and verifies it with the authorities of all bundles, whatever
        name it has; all else is this interceptor's. So they are of use only with it: as soon as nobody holds
        the interceptor any more, as of a server that was not given it, nobody can connect.

        Returns:
            Credentials for as many ports as you like. gRPC accepts TLS 1.2 as well, and resumes sessions
            until something changes; each call is judged all the same.

        Raises:
            InvalidCredentials: If the mesh has no credentials.
        """
        return ServerCertificates(self._mesh, weakref.ref(self)).credentials()


async def _handler(call: AioCall) -> Handler:
    return call.handler_of(call.respond)
