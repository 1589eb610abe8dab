"""`BundleEndpoint`: a SPIFFE bundle endpoint as a source."""

from __future__ import annotations

import secrets
from typing import Self

from meshid.errors import InvalidBundle, InvalidInput, SourceUnavailable
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.sources.endpoint.bundle_document import DEFAULT_HINT, BundleDocument
from meshid.sources.endpoint.servers import Server, SpiffeServer, WebHost
from meshid.sources.https.deadlines import Deadline, EndableReads, Stopped
from meshid.sources.https.http_get import NoResponse, ask
from meshid.sources.https.urls import HttpsUrl
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.trust.bundles import MAX_BUNDLE_BYTES, TrustBundle

READ_SECONDS = 15.0
"""For one read as a whole: the name look-up, each redirect, the last byte."""

RETRY_SECONDS = 60
"""After a read that failed."""

MAX_REDIRECTS = 5
"""A moved endpoint needs one, and a CDN perhaps another."""

_JITTER = 0.1
"""A share of each pause, so that a fleet that starts together does not ask together."""


class BundleEndpoint:
    """The bundle of a trust domain, from its SPIFFE bundle endpoint (SPIFFE Federation section 5).

    It is asked directly, never through a proxy from the environment. Redirects are followed
    under the same rules, and each read begins at *url* again.

    A bundle that is older than the last one, by its ``spiffe_sequence``, is refused; a restart
    forgets the last one. After a document with a sequence, each new bundle needs one.

    Args:
        trust_domain: The trust domain whose bundle is served.
        url: Where: ``https://host[:port]/path``.
        server: Who serves it; `https_web` and `https_spiffe` make one.

    Attributes:
        name: What it is and where.
        is_required: False: a mesh starts without a partner's bundle.
        is_stream: False: it is polled.
    """

    is_required = False
    is_stream = False

    def __init__(self, trust_domain: TrustDomain | str, url: str, *, server: Server) -> None:
        self._trust_domain = TrustDomain.parse(str(trust_domain))
        self._url = _url(url)
        self._server = server
        self._last: BundleDocument | None = None
        self._pause = DEFAULT_HINT
        self._reads = EndableReads()
        self.name = f"bundle endpoint of {self._trust_domain} {quote(url)}"

    @classmethod
    def https_web(cls, trust_domain: TrustDomain | str, url: str, *, roots: bytes | None = None) -> Self:
        """Ask a server that has a web certificate for its host name.

        Args:
            trust_domain: The trust domain whose bundle is served.
            url: Where: ``https://host[:port]/path``.
            roots: The authorities for the server's certificate, in PEM; the system's if None.

        Returns:
            The source.

        Raises:
            InvalidInput: If *url* is not such a URL.
            InvalidBundle: If *roots* are not PEM certificates.
            InvalidSpiffeId: If *trust_domain* is not a trust domain name.
        """
        return cls(trust_domain, url, server=WebHost(roots))

    @classmethod
    def https_spiffe(
        cls, trust_domain: TrustDomain | str, url: str, *, spiffe_id: SpiffeId | str, bundle: TrustBundle
    ) -> Self:
        """Ask a server that has an X509-SVID.

        Args:
            trust_domain: The trust domain whose bundle is served.
            url: Where: ``https://host[:port]/path``.
            spiffe_id: The one SPIFFE ID that the server must have.
            bundle: The bundle of the trust domain of *spiffe_id*. If that is the trust domain
                whose bundle is served, the server is verified with it the first time, and then
                with the bundle that was fetched last (section 5.2.2.4).

        Returns:
            The source.

        Raises:
            InvalidInput: If *url* is not such a URL.
            InvalidBundle: If *bundle* is that of another trust domain.
            InvalidSpiffeId, InvalidPattern: If a name is not valid, or *spiffe_id* has no path.
        """
        return cls(trust_domain, url, server=SpiffeServer(SpiffeId.parse(str(spiffe_id)), bundle))

    def read(self) -> State:
        """Fetch the bundle.

        Returns:
            A state with the bundle.

        Raises:
            SourceUnavailable: If the right server does not answer.
            InvalidBundle: If its answer is not a bundle, or is older than the last one.
        """
        self._pause = RETRY_SECONDS
        try:
            document = BundleDocument.read(self._trust_domain, self._fetch()).following(self._last)
            self._server = self._server.after(document.bundle)
        except InvalidBundle as error:
            msg = f"{self.name}: {error}"
            raise InvalidBundle(msg) from error
        self._last = document
        self._pause = document.refresh_hint
        bundle = document.bundle
        warnings = tuple(f"{self.name}: skipped {problem}" for problem in bundle.skipped)
        return State(bundles=(bundle,), warnings=warnings)

    def pause(self) -> float:
        """Return the seconds until the next read: the bundle's refresh hint, within limits."""
        return self._pause * secrets.SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)

    def close(self) -> None:
        """End a read that waits, and refuse any further one; from any thread."""
        self._reads.close()

    def _fetch(self) -> bytes:
        with self._reads.within(READ_SECONDS) as deadline:
            try:
                return self._ask(deadline)
            except Stopped as error:
                msg = f"{self.name}: it was closed"
                raise SourceUnavailable(msg) from error

    def _ask(self, deadline: Deadline) -> bytes:
        url, way = self._url, ""
        for _ in range(1 + MAX_REDIRECTS):
            try:
                answer = ask(url, self._server, deadline, limit=MAX_BUNDLE_BYTES)
                if answer.location is None:
                    return answer.body
                url = url.joined(answer.location)
            except (NoResponse, InvalidInput, SourceUnavailable) as error:
                msg = f"{self.name}{way}: {error}"
                raise SourceUnavailable(msg) from error
            way = f", redirected to {quote(url.text)}"
        msg = f"{self.name}{way}: there are more than {MAX_REDIRECTS} redirects"
        raise SourceUnavailable(msg)


def _url(text: str) -> HttpsUrl:
    try:
        return HttpsUrl.parse(text)
    except InvalidInput as error:
        msg = f"bundle endpoint {error}"
        raise InvalidInput(msg) from error
