"""A handshake that breaks off before there is a peer is told, with what to do about it."""

from __future__ import annotations

import logging
import socket
import ssl

import pytest

from meshid import Mesh
from meshid.audit.connection_info import ConnectionInfo
from meshid.audit.rate_limit import BURST, RateLimit
from meshid.testing import CA
from meshid.tls.broken_off import BrokenOff
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, PATH, SERVERS, TIMEOUT, Memory, Serving, knock, stranger, tls12

EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "meshid.tls"]


@EACH_SERVER
def test_a_client_that_is_too_old(
    serve: Serving, mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(mesh.server_context()) as service:
        assert knock(service.port, tls12(stranger(prod_ca.issue(PATH)))).answer == b""
        assert eventually(lambda: lines(caplog))
    (line,) = lines(caplog)
    assert line == (
        "no TLS handshake with a client from 127.0.0.1: it offers no version of TLS that is accepted here:"
        " update it, or make our context with minimum_version=ssl.TLSVersion.TLSv1_2"
        " (OpenSSL says: 'UNSUPPORTED_PROTOCOL')"
    )
    assert caplog.records[-1].levelno == logging.WARNING


@EACH_SERVER
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", "it speaks HTTP without TLS"),
        (b"\x00" * 64, "it does not speak TLS"),
    ],
)
def test_a_client_that_does_not_speak_tls(
    sent: bytes, words: str, serve: Serving, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        serve(mesh.server_context()) as service,
        socket.create_connection((HOST, service.port), TIMEOUT) as plain,
    ):
        plain.sendall(sent)
        assert eventually(lambda: lines(caplog))
    (line,) = lines(caplog)
    assert words in line


def test_a_client_that_does_not_trust_us(mesh: Mesh, dev_ca: CA, caplog: pytest.LogCaptureFixture) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=dev_ca.pem.decode())
    both = Memory(mesh.server_context(), client)
    with pytest.raises(ssl.SSLCertVerificationError):
        both.shake_hands()
    both.to_server.write(both.sent.read())
    # What it has not read of our flight is gone with it.
    both.to_client.read()
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        both.server.do_handshake()
    (line,) = lines(caplog)
    assert line.startswith("no TLS handshake with a client: it broke off, so see its log, too:")
    # A plain context would have completed our chain from the authorities that it trusts.
    assert "the intermediates that it lacks" in line


def test_a_server_that_is_too_old_is_told_to_the_caller_alone(
    mesh: Mesh, prod_ca: CA, caplog: pytest.LogCaptureFixture
) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.maximum_version = TLS12
    prod_ca.issue("/ns/pay/sa/ledger").load_into(server)
    both = Memory(server, mesh.client_context("/ns/pay/**"))
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        both.shake_hands()
    both.to_client.write(b"")
    with pytest.raises(ssl.SSLError):
        both.client.do_handshake()
    assert lines(caplog) == []


class TestTheLine:
    def tell(self, reason: str, oldest: ssl.TLSVersion = TLS13) -> None:
        error = ssl.SSLError(1, reason)
        error.reason = reason
        BrokenOff(oldest).tell(ConnectionInfo(), error)

    def test_does_not_offer_what_is_there(self, caplog: pytest.LogCaptureFixture) -> None:
        self.tell("UNSUPPORTED_PROTOCOL", TLS12)
        (line,) = lines(caplog)
        assert "accepted here: update it (OpenSSL says:" in line

    def test_says_at_least_what_openssl_says(self, caplog: pytest.LogCaptureFixture) -> None:
        self.tell("SOMETHING_NEW")
        (line,) = lines(caplog)
        assert line == (
            "no TLS handshake with a client: the two ends do not agree (OpenSSL says: 'SOMETHING_NEW')"
        )

    @pytest.mark.parametrize("error", [ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError])
    def test_is_not_about_who_hangs_up(
        self, error: type[ssl.SSLError], caplog: pytest.LogCaptureFixture
    ) -> None:
        BrokenOff(TLS13).tell(ConnectionInfo(), error(8, "EOF"))
        assert lines(caplog) == []

    def test_comes_at_a_limited_rate_and_counts_what_does_not(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        broken_off, error = BrokenOff(TLS13), ssl.SSLError(1, "x")
        monkeypatch.setattr(broken_off, "_limit", RateLimit(lambda: 0.0))
        for _ in range(2 * BURST):
            broken_off.tell(ConnectionInfo(address="10.0.0.1"), error)
        assert len(lines(caplog)) == BURST
        broken_off.tell(ConnectionInfo(address="10.0.1.1"), error)
        assert lines(caplog)[-1].endswith(f"; {BURST} before it were not logged")
