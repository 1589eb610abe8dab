"""What may be set on a context: versions, options, ciphers, ALPN and the like, nothing about trust.

The rules of this module:

- What a context was made with is the limit. A setting within it takes effect, also one that
  takes back another; one that goes past it is an error which says what to do instead.
- A minimum that is lower than ours is no error: our handshakes meet it, and libraries set it
  on every context that they are given (elastic-transport: TLS 1.2).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast

import attrs

from meshid.support.logs import WARNING, log
from meshid.support.quoting import described, quote, quote_all
from meshid.support.types import check_type
from meshid.tls.broken_off import LOGGER

MAX_PROTOCOL_BYTES = 255
"""RFC 7301 section 3.1: the length of a protocol's name is one octet."""

CURVES = ("X25519", "X448", "prime256v1", "secp384r1", "secp521r1")
"""The curves of TLS 1.3 (RFC 8446 section 4.2.7), by OpenSSL's names."""

_VERSIONS = {ssl.TLSVersion.TLSv1_2: ssl.OP_NO_TLSv1_2, ssl.TLSVersion.TLSv1_3: ssl.OP_NO_TLSv1_3}
# As numbers: `~` of `ssl.Options` loses what OpenSSL knows and Python does not.
_NO_VERSION = int(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1 | ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3)
# Not each OP_NO_... narrows: OpenSSL has some that switch protection off.
_MAY_BE_ADDED = _NO_VERSION | int(
    ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
)
# With it, a connection that is cut off looks as if it had been closed.
_MAY_BE_REMOVED = int(ssl.OP_IGNORE_UNEXPECTED_EOF)


@attrs.frozen
class TlsSettings:
    """What is set on a context.

    Attributes:
        minimum_version: The oldest version of TLS.
        maximum_version: The newest one.
        options: As in `ssl.SSLContext.options`.
        num_tickets: Session tickets that a server sends after a TLS 1.3 handshake; None for a client.
        alpn: The protocols to offer, best first.
        ciphers: As for `ssl.SSLContext.set_ciphers`; None for the system's own.
        curve: As for `ssl.SSLContext.set_ecdh_curve`; None for the system's own.
        keylog_filename: The file that TLS secrets are written to; None for no file.
    """

    minimum_version: ssl.TLSVersion
    maximum_version: ssl.TLSVersion
    options: ssl.Options
    num_tickets: int | None
    alpn: tuple[str, ...]
    ciphers: str | None = None
    curve: str | None = None
    keylog_filename: str | None = None

    @classmethod
    def limits(
        cls,
        protocol: int,
        *,
        minimum_version: ssl.TLSVersion,
        alpn: Iterable[str] = (),
        resumption: bool = False,
    ) -> Self:
        """Return what a context is made with.

        Args:
            protocol: `ssl.PROTOCOL_TLS_SERVER` or `ssl.PROTOCOL_TLS_CLIENT`.
            minimum_version: TLS 1.3 or 1.2.
            alpn: The protocols to offer.
            resumption: Whether a server lets clients resume a session.

        Raises:
            TypeError, ValueError: If an argument cannot be used.
        """
        # "no" is true.
        check_type(type(resumption), bool, "resumption", "True or False")
        plain = ssl.SSLContext(protocol)
        options = plain.options | ssl.OP_NO_RENEGOTIATION
        return cls(
            minimum_version=_oldest(minimum_version),
            maximum_version=ssl.TLSVersion.TLSv1_3,
            options=options if resumption else options | ssl.OP_NO_TICKET,
            num_tickets=_tickets(plain, resumption=resumption),
            alpn=protocols(alpn),
        )

    def apply(self, context: ssl.SSLContext) -> None:
        """Set all of it on a *context*."""
        # Unbound: the methods of a facade change its settings.
        plain, put, versions = ssl.SSLContext, ssl.SSLContext.__setattr__, self.versions()
        put(context, "minimum_version", versions[0])
        put(context, "maximum_version", versions[-1])
        # As options, the ssl module calls them deprecated with each new context.
        put(context, "options", int(self.options) & ~_NO_VERSION)
        if self.num_tickets is not None:
            put(context, "num_tickets", self.num_tickets)
        if self.alpn:
            plain.set_alpn_protocols(context, self.alpn)
        if self.ciphers is not None:
            plain.set_ciphers(context, self.ciphers)
        if self.curve is not None:
            plain.set_ecdh_curve(context, self.curve)
        if self.keylog_filename is not None:
            # It could be opened when it was set. Nobody is refused because a debugger's file has gone.
            with suppress(OSError):
                put(context, "keylog_filename", self.keylog_filename)

    def tell_if_no_keylog(self) -> None:
        """Log a line if `keylog_filename` cannot be opened."""
        if self.keylog_filename is not None:
            try:
                Path(self.keylog_filename).open("ab").close()
            except OSError as error:
                log(LOGGER, WARNING, "keylog_filename: TLS secrets are not written: %s", described(error))

    def with_change(self, name: str, value: object) -> Self:
        """Return these settings with one changed.

        Raises:
            ValueError: If no version of TLS is left.
        """
        change: dict[str, Any] = {name: value}
        changed = attrs.evolve(self, **change)
        if not changed.versions():
            offered = " and ".join(_shown(version) for version in self.versions())
            msg = f"{name} would leave no version of TLS: this context offers {offered}"
            if self.minimum_version is ssl.TLSVersion.TLSv1_3:
                msg += "; for TLS 1.2, too, make it with minimum_version=ssl.TLSVersion.TLSv1_2"
            raise ValueError(msg)
        return changed

    def versions(self) -> list[ssl.TLSVersion]:
        """Return the versions that are offered, the oldest first."""
        return [
            version
            for version, switched_off in _VERSIONS.items()
            if self.minimum_version <= version <= self.maximum_version and not self.options & switched_off
        ]


def protocols(alpn: Iterable[str]) -> tuple[str, ...]:
    """Return the names of protocols, each as TLS can carry it (RFC 7301 section 3.1).

    Raises:
        TypeError, ValueError: If *alpn* cannot be offered.
    """
    if isinstance(alpn, str):
        msg = f"alpn must be a list of protocols: write [{alpn!r}]"
        raise TypeError(msg)
    if not isinstance(cast("object", alpn), Iterable):
        msg = f"alpn must be a list of protocols as str, not {type(alpn).__name__}"
        raise TypeError(msg)
    names = tuple(alpn)
    for name in names:
        if not isinstance(name, str):
            msg = f"alpn must be a list of protocols as str, not of {type(name).__name__}"
            raise TypeError(msg)
        if not (name.isascii() and 0 < len(name) <= MAX_PROTOCOL_BYTES):
            msg = f"alpn has {quote(name)}, which is not 1 to {MAX_PROTOCOL_BYTES} ASCII characters"
            raise ValueError(msg)
    return names


def ciphers_within(protocol: int, ciphers: str) -> str:
    """Return a selection of ciphers (of TLS 1.2), each by its name, none of which a context would not offer.

    Raises:
        ValueError: If there are others, or if the security level is lower.
        ssl.SSLError: If OpenSSL finds no cipher in it.
    """
    ours, theirs = ssl.SSLContext(protocol), ssl.SSLContext(protocol)
    theirs.set_ciphers(ciphers)
    names, offered = _tls12_ciphers(theirs), _tls12_ciphers(ours)
    if others := [name for name in names if name not in offered]:
        msg = (
            f"set_ciphers: {quote(ciphers)} has ciphers that a MeshContext does not offer:"
            f" {quote_all(others)}: name some of those that get_ciphers() lists"
        )
        raise ValueError(msg)
    if theirs.security_level < ours.security_level:
        msg = f"set_ciphers: {quote(ciphers)} lowers the security level: leave @SECLEVEL out"
        raise ValueError(msg)
    return ":".join([f"@SECLEVEL={theirs.security_level}", *names])


def curve_within(curve: str | bytes) -> str:
    """Return the name of a curve that TLS 1.3 has.

    Raises:
        ValueError: If it is another one.
    """
    name = os.fsdecode(curve)
    if name not in CURVES:
        msg = f"set_ecdh_curve: {quote(name)} is not one of {', '.join(CURVES)}"
        raise ValueError(msg)
    return name


def _version(value: object) -> ssl.TLSVersion:
    version = ssl.TLSVersion(cast("int", value))
    # So that a context offers no version which a newer OpenSSL brings, before its messages are known here.
    return ssl.TLSVersion.TLSv1_3 if version is ssl.TLSVersion.MAXIMUM_SUPPORTED else version


def _minimum_version(limits: TlsSettings, value: object) -> ssl.TLSVersion:
    return max(limits.minimum_version, _version(value))


def _maximum_version(_: TlsSettings, value: object) -> ssl.TLSVersion:
    return _version(value)


def _options(limits: TlsSettings, value: object) -> ssl.Options:
    if not isinstance(value, int):
        msg = f"options must be a number or ssl.Options, not {type(value).__name__}"
        raise TypeError(msg)
    before, after = int(limits.options), int(value)
    if lost := before & ~after & ~_MAY_BE_REMOVED:
        msg = f"options of a MeshContext cannot lose {ssl.Options(lost)!r}: add to them, with |="
        raise ValueError(msg)
    if gained := after & ~before & ~_MAY_BE_ADDED:
        msg = f"options of a MeshContext cannot gain {gained:#x}: only what switches something off"
        raise ValueError(msg)
    return ssl.Options(after)


def _num_tickets(limits: TlsSettings, value: object) -> int:
    if not isinstance(value, int):
        msg = f"num_tickets must be an int, not {type(value).__name__}"
        raise TypeError(msg)
    if limits.num_tickets is None:
        msg = "num_tickets is for servers"
        raise ValueError(msg)
    if not 0 <= value <= limits.num_tickets:
        advice = "" if limits.num_tickets else ": pass resumption=True to server_context()"
        msg = f"num_tickets cannot be {value}, it is at most {limits.num_tickets}{advice}"
        raise ValueError(msg)
    return value


def _keylog_filename(_: TlsSettings, value: object) -> str | None:
    return None if value is None else os.fsdecode(cast("str | os.PathLike[str]", value))


NARROWED: Mapping[str, Callable[[TlsSettings, object], object]] = {
    "minimum_version": _minimum_version,
    "maximum_version": _maximum_version,
    "options": _options,
    "num_tickets": _num_tickets,
    "keylog_filename": _keylog_filename,
}
"""For each attribute that may be set: what takes effect within the limits, given what was set."""


def _oldest(version: object) -> ssl.TLSVersion:
    if version is ssl.TLSVersion.TLSv1_2 or version is ssl.TLSVersion.TLSv1_3:
        return version
    msg = f"minimum_version must be ssl.TLSVersion.TLSv1_3 or ssl.TLSVersion.TLSv1_2, not {version!r}"
    raise ValueError(msg) if isinstance(version, ssl.TLSVersion) else TypeError(msg)


def _tickets(plain: ssl.SSLContext, *, resumption: bool) -> int | None:
    if plain.protocol is ssl.PROTOCOL_TLS_CLIENT:
        return None
    return plain.num_tickets if resumption else 0


def _tls12_ciphers(context: ssl.SSLContext) -> list[str]:
    # Those of TLS 1.3 are always offered: `set_ciphers` does not reach them.
    return [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]


def _shown(version: ssl.TLSVersion) -> str:
    return f"TLS 1.{version - ssl.TLSVersion.TLSv1}"
