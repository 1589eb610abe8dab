"""niquests, in an environment of its own: it brings another urllib3 under the same name.

Prints what it made of the right server, and of one of another name that has a DNS name and our authority.
"""

from __future__ import annotations

import json
import ssl
import sys
from typing import Any

import niquests  # type: ignore[import-not-found]  # not in the environment of the tests
from niquests.adapters import HTTPAdapter  # type: ignore[import-not-found]  # as above

from meshid import MeshContext
from meshid.testing import CA, Issued
from tests.helpers.recording import recording
from tests.helpers.tls_peers import mesh_of

EXPECT = "/ns/payments/sa/api"


class Mounted(HTTPAdapter):  # type: ignore[misc]  # as above
    """What a user would write."""

    def __init__(self, context: MeshContext) -> None:
        self._context = context
        super().__init__(disable_http3=True)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - its own
        super().init_poolmanager(*args, ssl_context=self._context, **options)


def asked(issued: Issued, context: MeshContext) -> tuple[str, int]:
    """Ask a server; return what came of it, and how many octets it got."""
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.load_into(plain)
    with recording(plain) as server, niquests.Session() as session:
        session.mount("https://", Mounted(context))
        try:
            said = str(session.get(server.url).status_code)
        except niquests.RequestException as error:
            said = type(error).__name__
        return said, len(server.received)


if __name__ == "__main__":
    ca = CA("prod.example.org")
    context = mesh_of(ca).client_context(EXPECT)
    names = ["localhost"]
    right, _ = asked(ca.issue(EXPECT, dns=names), context)
    wrong, octets = asked(ca.issue("/ns/other/sa/api", dns=names), context)
    sys.stdout.write(json.dumps({"right": right, "wrong_name": wrong, "bytes": octets}))
