"""WebSocket (RFC 6455), with wsproto over a raw TLS socket: a path is sent as a text, and comes back.

The handshake is a request for ``/v1/ws``, or for another path where a test asks for something that is not a
charge; the policy judges it.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections import deque
from collections.abc import Sequence

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.frameworks.dialects import Answer

WHERE = "/v1/ws"


class WebSocket:
    """WebSocket over HTTP/1.1."""

    name = "websocket"
    alpn: Sequence[str] = ()
    has_paths = False
    has_stream = False

    def before_tls(self, plain: socket.socket) -> None:
        """Say nothing."""

    def hello(self, path: str) -> bytes:
        """Return the handshake; the server may not take a message before it has answered."""
        return WSConnection(ConnectionType.CLIENT).send(Request(host="localhost", target=_where(path)))

    def talk(self, tls: ssl.SSLSocket) -> WebSocketTalk:
        """Begin a conversation."""
        return WebSocketTalk(tls)


def _where(path: str) -> str:
    return WHERE if path.startswith("/v1/charges") else path


class WebSocketTalk:
    """WebSocket on one connection; its handshake is that of the first request."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._connection = WSConnection(ConnectionType.CLIENT)
        self._came: deque[Event] = deque()
        self._where = ""

    def ask(self, path: str) -> Answer:
        """Send a text."""
        return self.ask_many([path])[0]

    def ask_many(self, paths: Sequence[str]) -> list[Answer]:
        """Send all texts in one piece."""
        if status := self._shake_hands(_where(paths[0])):
            return [Answer(status)]
        self._tls.sendall(b"".join(self._connection.send(TextMessage(data=path)) for path in paths))
        return [self._answer() for _ in paths]

    def post_slowly(self, size: int) -> Answer:
        """Send a text in pieces."""
        self._shake_hands(WHERE)
        message = self._connection.send(TextMessage(data="x" * size))
        for at in range(0, len(message), 20):
            self._tls.sendall(message[at : at + 20])
            time.sleep(0.005)
        return self._answer()

    def begin_stream(self) -> None:
        """Do nothing: there is none."""

    def end_of_stream(self) -> int:
        """Do nothing: there is none."""
        return 0

    def _shake_hands(self, where: str) -> int:
        """Shake hands, once; return the status if it is refused."""
        if self._where == where:
            return 0
        if self._where:
            # Another path is another handshake, and this connection has had its own.
            msg = "the conversation is about another path"
            raise ConnectionAbortedError(msg)
        self._where = where
        self._tls.sendall(self._connection.send(Request(host="localhost", target=where)))
        event = self._next()
        if isinstance(event, RejectConnection):
            return event.status_code
        assert isinstance(event, AcceptConnection), event
        return 0

    def _answer(self) -> Answer:
        text = ""
        while True:
            event = self._next()
            if not isinstance(event, TextMessage):
                msg = f"{type(event).__name__} {getattr(event, 'code', '')}"
                raise ConnectionAbortedError(msg)
            text += event.data
            if event.message_finished:
                said = json.loads(text)
                return Answer(200, said["peer"], said["text"])

    def _next(self) -> Event:
        while not self._came:
            came = self._tls.recv(65536)
            if not came:
                msg = "EOF"
                raise ConnectionAbortedError(msg)
            self._connection.receive_data(came)
            self._came.extend(self._connection.events())
        event = self._came.popleft()
        if isinstance(event, CloseConnection):
            msg = f"close {event.code}"
            raise ConnectionAbortedError(msg)
        return event


WEBSOCKET = WebSocket()
