"""What a gRPC server presents, and whose certificates it accepts: what is in force when a client connects."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Protocol, TypeAlias, cast

import grpc

from meshid.errors import InvalidCredentials
from meshid.mesh import Mesh
from meshid.support.logs import ERROR, log
from meshid.trust.bundles import BundleSet
from meshid.trust.credentials import X509Svid

_Fetcher: TypeAlias = Callable[[], grpc.ServerCertificateConfiguration]
"""The types of gRPC leave out that it may return None, for no change."""


LOGGER = logging.getLogger("meshid.grpc")

_MANY = 16
"""Clients of whom one would have called by now."""


class Holder(Protocol):
    """What judges the calls.

    Attributes:
        was_asked: Whether gRPC has ever asked it about a call.
    """

    was_asked: bool


class ServerCertificates:
    """The certificate of a server and the authorities of its clients, for each new connection.

    Args:
        mesh: Has them.
        holder: What judges the calls; as soon as it is gone, no client is accepted. That it was never asked,
            although clients have connected, is logged.

    Raises:
        InvalidCredentials: If the mesh has no credentials.
    """

    def __init__(self, mesh: Mesh, holder: weakref.ref[Holder]) -> None:
        if (own := mesh.snapshot.credentials) is None:
            msg = "TLS needs a certificate of our own: give the Mesh credentials"
            raise InvalidCredentials(msg)
        self._mesh = mesh
        self._holder = holder
        self._given = own, BundleSet()
        self._connections = 0

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that ask for news before each handshake."""
        first, fetch = _configuration(*self._given), cast("_Fetcher", self.news)
        return grpc.dynamic_ssl_server_credentials(first, fetch, require_client_authentication=True)

    def news(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has changed since the last time; gRPC asks from one thread at a time.

        Whatever this raises, gRPC goes on with what it has.
        """
        self._tell_if_unused()
        snapshot = self._mesh.snapshot
        is_of_use = self._holder() is not None and snapshot.credentials is not None
        own = snapshot.credentials or self._given[0]
        now = own, snapshot.bundles if is_of_use else BundleSet()
        if now == self._given:
            return None
        news = _configuration(*now)
        self._given = now
        return news

    def _tell_if_unused(self) -> None:
        # gRPC tells nobody which interceptors a server has; only that it is never asked shows it.
        self._connections += 1
        holder = self._holder()
        if self._connections == _MANY and holder is not None and not holder.was_asked:
            log(
                LOGGER,
                ERROR,
                "%d clients have connected, and no call of theirs was judged: give the server"
                " interceptors=[interceptor], the one whose server_credentials() it has",
                _MANY,
            )


def _configuration(own: X509Svid, bundles: BundleSet) -> grpc.ServerCertificateConfiguration:
    # Without an authority gRPC accepts nobody: measured, and tested.
    authorities = b"".join(bundle.to_pem() for bundle in bundles.values())
    return grpc.ssl_server_certificate_configuration([(own.key_pem(), own.chain_pem())], authorities)
