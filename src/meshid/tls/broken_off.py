"""Handshakes that break off before there is a peer to refuse.

Nobody else tells of them: asyncio closes the connection in silence, and the client, if it says
anything, says it elsewhere. Without a line here, a client that is too old just does not work.
"""

from __future__ import annotations

import logging
import ssl

from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.rate_limit import RateLimit, left_out
from meshid.errors import HandshakeTimeout
from meshid.support.logs import WARNING, log
from meshid.support.quoting import quote

LOGGER = logging.getLogger("meshid.tls")
"""Gets a line at WARNING for each handshake with a client that breaks off before there is a peer, and one
for what a listener or a setting of ours cannot do."""

_CAUSES = {
    "HTTP_REQUEST": "it speaks HTTP without TLS: let it use https://, or probe another port",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: is it a client of another port?",
    "NO_SHARED_CIPHER": "it offers no cipher suite that is accepted here: update it",
}
_OLD = "it offers no version of TLS that is accepted here: update it"
_OR_ACCEPT_IT = ", or make our context with minimum_version=ssl.TLSVersion.TLSv1_2"
_ALERT = (
    "it broke off, so see its log, too: does it trust our authority, expect our name, and find in the"
    " credentials of our Mesh the intermediates that it lacks?"
)


class BrokenOff:
    """Logs, at a limited rate, why handshakes with clients break off.

    Args:
        oldest: The oldest version of TLS that is accepted.
    """

    def __init__(self, oldest: ssl.TLSVersion) -> None:
        self._oldest = oldest
        self._limit = RateLimit()

    def tell(self, info: ConnectionInfo, error: ssl.SSLError) -> None:
        """Tell of one handshake.

        Args:
            info: What is known of the connection.
            error: What OpenSSL raised.
        """
        # Who says nothing, or hangs up, is a probe or a scan.
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
            return
        reason = str(error) if isinstance(error, HandshakeTimeout) else str(getattr(error, "reason", None))
        suppressed = self._limit.suppressed((reason, info.network))
        if suppressed is None:
            return
        source = f" from {info.address}" if info.address else ""
        cause = reason
        if not isinstance(error, HandshakeTimeout):
            cause = f"{_cause(reason, self._oldest)} (OpenSSL says: {quote(reason)})"
        log(LOGGER, WARNING, "no TLS handshake with a client%s: %s%s", source, cause, left_out(suppressed))


def _cause(reason: str, oldest: ssl.TLSVersion) -> str:
    if reason == "UNSUPPORTED_PROTOCOL":
        return _OLD + (_OR_ACCEPT_IT if oldest is ssl.TLSVersion.TLSv1_3 else "")
    if "ALERT" in reason:
        return _ALERT
    return _CAUSES.get(reason, "the two ends do not agree")
