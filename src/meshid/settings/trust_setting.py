"""Where a trust bundle is: ``partner.example=https://partner.example/bundle;roots=/etc/roots.pem``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from meshid.certificates.leaf import Profile
from meshid.errors import InvalidInput, SourceUnavailable
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.sources.source import Source
from meshid.support.quoting import quote

if TYPE_CHECKING:
    from meshid.sources.endpoint.servers import Server

_FORM = "TRUST_DOMAIN=PATH or TRUST_DOMAIN=https://HOST/PATH"
_OF_FILES = frozenset({"profile"})
_OF_URLS = frozenset({"endpoint", "bundle", "roots"})


@attrs.frozen(kw_only=True)
class Trust:
    """Where the bundle of one trust domain comes from.

    Attributes:
        trust_domain: The trust domain.
        location: A file or a directory; or the URL of a SPIFFE bundle endpoint.
        profile: How its authorities write names; ``spiffe`` for an endpoint.
        endpoint: The SPIFFE ID of the endpoint's server (`https_spiffe`); None if it has
            a web certificate (`https_web`).
        bundle: The file of the bundle that verifies that server the first time.
        roots: The file of the authorities for a web certificate; those of the system if None.
    """

    trust_domain: TrustDomain
    location: Path | str
    profile: Profile = Profile.SPIFFE
    endpoint: SpiffeId | None = None
    bundle: Path | None = None
    roots: Path | None = None

    @classmethod
    def parse(cls, text: str, base: Path = Path()) -> Self:
        """Parse ``TRUST_DOMAIN=LOCATION``, with options after semicolons.

        Args:
            text: ``prod.example.org=/etc/tls/ca.crt``, ``cluster.local=ca.pem;profile=linkerd``,
                ``partner.example=https://partner.example/bundle``, or
                ``partner.example=https://...;endpoint=spiffe://partner.example/bundle;bundle=FILE``.
            base: Where relative paths begin.

        Raises:
            InvalidInput: If it is not in one of these forms.
        """
        what, *rest = text.split(";")
        name, _, location = what.partition("=")
        is_url = location.startswith("https://")
        options = _options(rest, _OF_URLS if is_url else _OF_FILES)
        if not location or ("://" in location and not is_url):
            msg = f"{quote(text)} must be {_FORM}"
            raise InvalidInput(msg)
        if ("endpoint" in options) is not ("bundle" in options):
            msg = f"{quote(text)}: endpoint= and bundle= go together: a server, and the bundle to verify it"
            raise InvalidInput(msg)
        return cls(
            trust_domain=TrustDomain.parse(name),
            location=location if is_url else base / location,
            profile=_profile(options.get("profile", "spiffe")),
            endpoint=SpiffeId.parse(options["endpoint"]) if "endpoint" in options else None,
            bundle=base / options["bundle"] if "bundle" in options else None,
            roots=base / options["roots"] if "roots" in options else None,
        )

    def source(self) -> Source:
        """Return the source of the bundle.

        Raises:
            InvalidInput: If the URL cannot be that of a bundle endpoint.
        """
        from meshid.sources import BundleEndpoint, TrustFile
        from meshid.sources.endpoint.servers import LateServer

        if isinstance(self.location, Path):
            return TrustFile(str(self.trust_domain), self.location, profile=self.profile)
        # A partner's files are read by the source: what is wrong with them holds up nothing else.
        return BundleEndpoint(self.trust_domain, self.location, server=LateServer(self._server))

    def _server(self) -> Server:
        from meshid.sources import TrustFile
        from meshid.sources.endpoint.servers import SpiffeServer, WebHost

        if self.endpoint is None or self.bundle is None:
            return WebHost(None if self.roots is None else _read(self.roots))
        (bundle,) = TrustFile(str(self.endpoint.trust_domain), self.bundle).read().bundles
        return SpiffeServer(self.endpoint, bundle)


def _options(texts: list[str], known: frozenset[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known or not value:
            options_here = ", ".join(f"{each}=" for each in sorted(known))
            msg = f"{quote(text)} is not an option here; write one of: {options_here}"
            raise InvalidInput(msg)
        options[name] = value
    return options


def _profile(text: str) -> Profile:
    try:
        return Profile(text)
    except ValueError as error:
        msg = f"profile {quote(text)} is unknown; write one of: {', '.join(Profile)}"
        raise InvalidInput(msg) from error


def _read(path: Path) -> bytes:
    from meshid.sources.files.consistent_read import read_together

    try:
        return read_together([path])[0]
    except OSError as error:
        msg = f"{quote(str(path))} cannot be read: {error.strerror}"
        raise SourceUnavailable(msg) from error
