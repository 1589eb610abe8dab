"""The errors of a pyOpenSSL connection of ours: what was raised elsewhere, as an `OpenSSL.SSL.Error`, too.

Twisted, and whoever drives a pyOpenSSL connection, takes an `OpenSSL.SSL.Error` for the end of the
connection, and anything else for a mistake in its own code, with a traceback.
"""

from __future__ import annotations

import ssl

from OpenSSL import SSL

from meshid.errors import ConnectionEnded, HandshakeTimeout, PeerRejected

PAUSES = (SSL.WantReadError, SSL.WantWriteError)
"""Raised by a handshake that can go on."""


class OpenSSLRejection(PeerRejected, SSL.Error):
    """A `PeerRejected` that is an `OpenSSL.SSL.Error`."""


class OpenSSLEnded(ConnectionEnded, SSL.Error):
    """A `ConnectionEnded` that is an `OpenSSL.SSL.Error`."""


class OpenSSLTimeout(HandshakeTimeout, SSL.Error):
    """A `HandshakeTimeout` that is an `OpenSSL.SSL.Error`."""


def for_openssl(error: PeerRejected | HandshakeTimeout) -> PeerRejected | HandshakeTimeout:
    """Return the same error as an `OpenSSL.SSL.Error`."""
    made: PeerRejected | HandshakeTimeout
    if isinstance(error, HandshakeTimeout):
        made = OpenSSLTimeout(*error.args)
    else:
        made_like = OpenSSLEnded if isinstance(error, ConnectionEnded) else OpenSSLRejection
        made = made_like(error.decision, of_server=error.of_server)
    # A list of (library, function, reason), where Twisted looks for the end of the stream.
    made.args = ([("meshid", "", str(error))],)
    return made


def reason_of(error: SSL.Error) -> str:
    """Return the last thing that OpenSSL says, in the form of `ssl.SSLError.reason`."""
    queue = error.args[0] if error.args else ()
    reason = queue[-1][-1] if isinstance(queue, list) and queue else ""
    return str(reason).upper().replace(" ", "_")


def as_ssl_error(error: SSL.Error) -> ssl.SSLError:
    """Return what the `ssl` module would have raised."""
    if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)):
        return ssl.SSLEOFError(ssl.SSLErrorNumber.SSL_ERROR_EOF, str(error))
    made = ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, str(error))
    made.reason = reason_of(error)
    return made
