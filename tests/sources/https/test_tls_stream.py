"""A connection that the other end resets before the handshake has begun."""

from __future__ import annotations

import gc
import socket
import ssl
import struct

import pytest

from meshid.sources.https import tls_stream
from meshid.sources.https.deadlines import Deadline
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, TIMEOUT

AT_ONCE = struct.pack("ii", 1, 0)


def has_no_peer(plain: socket.socket) -> bool:
    try:
        plain.getpeername()
    except OSError:
        return True
    return False


def test_one_that_is_reset_before_the_handshake_leaves_no_socket_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server((HOST, 0)) as listener:
        plain = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        accepted.close()
        assert eventually(lambda: has_no_peer(plain))
        monkeypatch.setattr(tls_stream, "reach", lambda *_: plain)
        context, port = ssl.create_default_context(), listener.getsockname()[1]
        with (
            Deadline(TIMEOUT) as deadline,
            pytest.raises(OSError, match="not connected"),
            tls_stream.connected(HOST, port, context, deadline, limit=1),
        ):
            pass
    # Whatever is still open warns now, and fails the test.
    gc.collect()
    assert plain.fileno() == -1
