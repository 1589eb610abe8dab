"""The chain that the other end presents, read from the wire before OpenSSL looks at it.

pyOpenSSL's verify callback is shown the certificates that OpenSSL has put together, and not those that
it passed over: with two authorities of one name it may have taken the wrong one. So the Certificate
message is read as it arrives, as for the `ssl` module (`meshid.tls.peer_chain`). The hook for that,
``SSL_CTX_set_msg_callback``, is in what pyOpenSSL is made of, and is not public. Nobody is admitted
unless it is called.
"""

from __future__ import annotations

from typing import Protocol, cast

from OpenSSL import SSL

from meshid.tls.peer_chain import read_certificate_message

_ffi, _lib = SSL._ffi, SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001 - no other way

_HANDSHAKE = 22
_CERTIFICATE = b"\x0b"
_TLS_1_3 = 0x0304


class _Listening(Protocol):
    """A connection that is told of the certificates of the other end."""

    def on_certificates(self, chain: list[bytes], version: str) -> None:
        """Take note of a chain, before OpenSSL looks at it; raises nothing."""


def listen(context: SSL.Context) -> None:
    """Tell each connection of *context* of the certificates of the other end."""
    _lib.SSL_CTX_set_msg_callback(context._context, _callback)  # noqa: SLF001


@_ffi.callback("void(int, int, int, void *, size_t, SSL *, void *)")  # type: ignore[untyped-decorator]
def _callback(  # noqa: PLR0913, PLR0917  # the signature is OpenSSL's
    is_written: int, version: int, content_type: int, at: object, size: int, tls: object, _: object
) -> None:
    if content_type != _HANDSHAKE or is_written:
        return
    message = _ffi.buffer(at, size)
    if message[:1] == _CERTIFICATE:
        is_newer = version == _TLS_1_3
        chain = read_certificate_message(message[:], tls13=is_newer)
        connection = cast("_Listening", SSL.Connection._reverse_mapping[tls])  # noqa: SLF001
        connection.on_certificates(chain, "TLSv1.3" if is_newer else "TLSv1.2")
