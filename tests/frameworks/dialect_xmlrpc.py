"""XML-RPC: each call is a POST, and the path of a request is the parameter of a method ``charge``."""

from __future__ import annotations

import ssl
import xmlrpc.client
from collections.abc import Sequence

from typing_extensions import override

from tests.frameworks.dialects import Answer, Http11, Http11Talk


class XmlRpc(Http11):
    """XML-RPC over HTTP/1.1."""

    name = "xml-rpc"
    has_paths = False
    has_stream = False

    @override
    def hello(self, path: str) -> bytes:
        """Return a call."""
        return _call(path)

    @override
    def talk(self, tls: ssl.SSLSocket) -> XmlRpcTalk:
        """Begin a conversation."""
        return XmlRpcTalk(tls)


def _call(path: str) -> bytes:
    body = xmlrpc.client.dumps((path,), "charge").encode()
    where = "/v1/charges" if path.startswith("/v1/charges") else path
    head = f"POST {where} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class XmlRpcTalk(Http11Talk):
    """XML-RPC on one connection."""

    @override
    def ask(self, path: str) -> Answer:
        """Call the method."""
        return self.ask_many([path])[0]

    @override
    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Send all calls in one piece."""
        self.tls.sendall(b"".join(map(_call, paths)))
        return [self._answer() for _ in paths]

    @override
    def post_slowly(self, size: int) -> Answer:
        """Send a call in two pieces."""
        call = _call("/v1/charges/" + "slow" * (size // 10))
        self.tls.sendall(call[: len(call) // 2])
        self.tls.sendall(call[len(call) // 2 :])
        return self._answer()

    @override
    def _answer(self) -> Answer:
        status, fields = self._head()
        body = self._body(fields)
        if status != 200:
            return Answer(status)
        ((said,), _) = xmlrpc.client.loads(body)
        assert isinstance(said, dict)
        return Answer(status, str(said["peer"]), str(said["path"]))


XMLRPC = XmlRpc()
