"""The right server of an endpoint: one class for each profile (SPIFFE Federation section 5.2)."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Protocol, Self

import attrs
from typing_extensions import override

from meshid.admission.admission import Admission
from meshid.admission.open_connections import Connection
from meshid.admission.question import Question
from meshid.admission.settled import Settled
from meshid.errors import InvalidBundle, PeerRejected
from meshid.names.spiffe_id import SpiffeId
from meshid.sources.https.http_get import RightServer
from meshid.sources.https.web_server import WebServer
from meshid.tls.generation import Generation, Judge
from meshid.tls.tls_settings import TlsSettings
from meshid.trust.bundles import BundleSet, TrustBundle


class Server(RightServer, Protocol):
    """The right server, which may be another one once it has been asked."""

    def after(self, bundle: TrustBundle) -> Server:
        """Return the right server for the next connection, now that *bundle* was fetched."""


class WebHost(WebServer):
    """The host of the URL, with a web certificate (section 5.2.1, ``https_web``)."""

    def after(self, _: TrustBundle) -> Self:
        """Return itself: the bundle has nothing to do with web certificates."""
        return self


class _ServerJudge(Judge):
    """Decides by an admission of its own; no audit event tells of it: the server is no peer of the mesh."""

    @override
    def answer(self, connection: Connection, chain: Sequence[bytes], settled: Settled | None) -> None:
        """Let the server in, or raise."""
        settled = settled or self.ask(chain)
        if not settled.admits:
            raise PeerRejected(settled.decision, of_server=True)
        connection.peer = settled.peer


@attrs.frozen
class LateServer:
    """A server that takes files to know, which may be missing or wrong until the first connection.

    Attributes:
        make: Reads them; raises what a read of the endpoint may raise.
    """

    make: Callable[[], Server]

    def context(self) -> ssl.SSLContext:
        """Return the context of the server."""
        return self.make().context()

    def after(self, bundle: TrustBundle) -> Server:
        """Return the server, which is known from now on."""
        return self.make().after(bundle)


@attrs.frozen
class SpiffeServer:
    """The workload of one SPIFFE ID (section 5.2.2, ``https_spiffe``).

    Attributes:
        spiffe_id: Its name.
        bundle: The bundle of its trust domain.
    """

    spiffe_id: SpiffeId
    bundle: TrustBundle

    def __attrs_post_init__(self) -> None:
        self._question()
        if self.bundle.trust_domain != self.spiffe_id.trust_domain:
            msg = f"the bundle of {self.bundle.trust_domain} cannot vouch for {self.spiffe_id}"
            raise InvalidBundle(msg)

    def context(self) -> ssl.SSLContext:
        """Return a context with an admission of its own, which expects this one name."""
        asking = _ServerJudge(self._admission(), self._question())
        settings = TlsSettings.limits(ssl.PROTOCOL_TLS_CLIENT, minimum_version=ssl.TLSVersion.TLSv1_2)
        return Generation(ssl.PROTOCOL_TLS_CLIENT, judge=asking, settings=settings, own=None)

    def after(self, bundle: TrustBundle) -> Self:
        """Return it with the fetched *bundle*, if it is self-serving (section 5.2.2.4).

        Raises:
            InvalidBundle: If no authority in it is in date: with it, no server would be right any more.
        """
        if bundle.trust_domain != self.spiffe_id.trust_domain:
            return self
        newer = attrs.evolve(self, bundle=bundle)
        newer._admission()  # noqa: SLF001  # of the same class
        return newer

    def _admission(self) -> Admission:
        return Admission({"bundles": BundleSet([self.bundle])})

    def _question(self) -> Question:
        return Question(expect=self.spiffe_id)
