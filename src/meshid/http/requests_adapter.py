"""`MeshAdapter`: how a session of requests gets a context of ours. It needs requests.

The rules of this module:

- Each connection is made with the context, whatever is asked of the session, by a proxy or not.
- What would loosen that is an error; what comes from the environment is ignored.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema
from typing_extensions import override
from urllib3.connectionpool import HTTPSConnectionPool

from meshid.http.urllib3_retry import RetryUnlessRefused
from meshid.support.quoting import quote
from meshid.support.types import check_type
from meshid.tls.context import MeshContext


class MeshAdapter(HTTPAdapter):
    """Sends the requests of a `requests.Session` to servers that a context of ours admits, and to no other.

    It is mounted for what the session asks through it:
    ``session.mount("https://payments:8443/", MeshAdapter(mesh.client_context("/ns/payments/sa/api")))``.
    What the session asks elsewhere is none of its business; mounted for ``https://`` and ``http://``,
    the session asks nobody else, not even where it is redirected.

    Args:
        context: The context, from `Mesh.client_context`, which names the server.
        max_retries: How often a connection that could not be made is tried again. A refusal is not.
        options: ``pool_connections``, ``pool_maxsize`` and ``pool_block`` of `requests.adapters.HTTPAdapter`.

    Raises:
        TypeError: If *context* is no context of ours.
        ValueError: If it is one for servers.
    """

    # Else a session that is pickled would lose it in silence; so the context says that it cannot be.
    __attrs__ = [*HTTPAdapter.__attrs__, "_context"]  # noqa: RUF012 - requests declares it so

    def __init__(self, context: MeshContext, *, max_retries: int = 0, **options: Any) -> None:  # noqa: ANN401 - requests' own
        check_type(type(context), MeshContext, "context", "a context from Mesh.client_context()")
        if context.protocol is not ssl.PROTOCOL_TLS_CLIENT:
            msg = "context must be one for clients, from Mesh.client_context(), which names the server"
            raise ValueError(msg)
        self._context = context
        # Like requests, which counts connections only, unless it is asked for more.
        retries = RetryUnlessRefused(max_retries, read=None if max_retries else False)
        super().__init__(max_retries=retries, **options)

    @override
    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send a request, as `requests.adapters.HTTPAdapter.send` does.

        *verify* may name a file of authorities, as the environment of the process does; it is ignored.

        Raises:
            ValueError: If *verify* is False, or there is a *cert*.
            requests.exceptions.InvalidSchema: If the URL is not one of ``https://``.
            requests.exceptions.SSLError: If the server is refused: `refusal_of` says why.
            requests.exceptions.RequestException: If anything else fails.
        """
        if not verify:
            msg = "verify=False: a MeshAdapter verifies; ask a server outside of the mesh by another session"
            raise ValueError(msg)
        if cert:
            msg = "cert: a MeshAdapter shows the certificate of its Mesh; leave it out"
            raise ValueError(msg)
        if urlsplit(request.url or "").scheme != "https":
            msg = f"a MeshAdapter speaks TLS only, and so not to {quote(request.url or '')}"
            raise InvalidSchema(msg, request=request)
        return super().send(request, stream, timeout, verify=True, cert=None, proxies=proxies)

    @override
    def cert_verify(self, conn: HTTPSConnectionPool, url: str, verify: object, cert: object) -> None:
        """Put the context into a pool of connections; requests calls it before each request."""
        # Not where the pools are made: those for proxies are made elsewhere, and some releases of requests
        # (2.32.2) put a context of their own over the one of the pool manager.
        conn.conn_kw["ssl_context"] = self._context
        conn.cert_reqs = "CERT_REQUIRED"
