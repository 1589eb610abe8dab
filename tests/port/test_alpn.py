"""Which protocol the two ends of a port agree on (RFC 7301): the same one, or the connection ends."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence

import pytest

from meshid import Mesh
from meshid.testing import CA
from tests.helpers.ports import (
    MAKERS,
    Line,
    Upstream,
    connect,
    joined,
    port_of,
    running_port,
    tcp_upstream,
)
from tests.helpers.tls_peers import HELLO, PATH, credentials, mesh_of, stranger

EACH_LOOP = pytest.mark.parametrize("loop", MAKERS)
SERVER = "/ns/pay/sa/payments"
BOTH = ("h2", "http/1.1")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with tcp_upstream() as found:
        yield found


def client_that_offers(authority: CA, alpn: Sequence[str]) -> ssl.SSLContext:
    context = stranger(authority.issue(PATH))
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def agreed(line: Line) -> str | None:
    assert line.tls is not None
    return line.tls.selected_alpn_protocol()


def server_of(authority: CA, alpn: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue(SERVER).load_into(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def test_a_client_agrees_with_the_port_or_goes_on_without(
    mesh: Mesh, prod_ca: CA, upstream: Upstream
) -> None:
    expected = {("http/1.1", "h2"): "h2", ("http/1.1",): "http/1.1", ("acme-tls/1",): None, (): None}
    with running_port(port_of(mesh, upstream, alpn=iter(BOTH))) as running:
        for offered, protocol in expected.items():
            with joined(running, upstream, client_that_offers(prod_ca, offered)) as (client, service):
                client.send(HELLO)
                assert (service.receive(len(HELLO)), agreed(client)) == (HELLO, protocol)


def test_without_a_protocol_the_port_offers_none(mesh: Mesh, prod_ca: CA, upstream: Upstream) -> None:
    context = client_that_offers(prod_ca, ["h2"])
    with running_port(port_of(mesh, upstream)) as running, joined(running, upstream, context) as (client, _):
        assert agreed(client) is None


def test_the_upstream_gets_what_the_client_has_agreed_on(mesh: Mesh, prod_ca: CA, upstream: Upstream) -> None:
    # It would choose another one itself.
    server = server_of(prod_ca, ["http/1.1", "h2"])
    with running_port(port_of(mesh, upstream, alpn=BOTH, expect=SERVER)) as running:
        for offered in (["h2"], ["http/1.1"], []):
            context = client_that_offers(prod_ca, offered)
            with joined(running, upstream, context) as (client, service):
                client.send(HELLO)
                with server.wrap_socket(service.plain, server_side=True) as tls:
                    assert tls.recv(100) == HELLO
                    assert tls.selected_alpn_protocol() == agreed(client) == (offered[0] if offered else None)
    assert running.port.figures().upstream_failures == 0


@EACH_LOOP
@pytest.mark.parametrize("known", [["http/1.1"], []], ids=["another protocol", "no ALPN"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain client", "client with TLS"])
def test_an_upstream_that_does_not_agree_is_cut_off_and_gets_nothing(  # noqa: PLR0913, PLR0917  # fixtures
    loop: str,
    known: list[str],
    plain: bool,  # noqa: FBT001 - a parameter
    prod_ca: CA,
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mesh = mesh_of(prod_ca, credentials=credentials(prod_ca))
    port = port_of(mesh, upstream, expect=SERVER, client=plain, alpn=["h2"])
    context = None if plain else client_that_offers(prod_ca, ["h2"])
    with running_port(port, MAKERS[loop]) as running:
        with joined(running, upstream, context) as (client, service):
            client.send(HELLO)
            with server_of(prod_ca, known).wrap_socket(service.plain, server_side=True) as tls:
                assert tls.recv(100) == b""
            assert client.rest() == (b"", "reset")
        assert running.is_empty()
    assert port.figures().upstream_failures == 1
    assert [record.getMessage() for record in caplog.records if record.name == "meshid.port"] == [
        f"cannot connect to the upstream {upstream.address}: it does not agree on 'h2' (ALPN)"
    ]


def test_what_plain_clients_speak_is_told_to_the_server(prod_ca: CA, upstream: Upstream) -> None:
    mesh = mesh_of(prod_ca, credentials=credentials(prod_ca))
    server = server_of(prod_ca, ["http/1.1", "h2"])
    for alpn, protocol in ((["h2"], "h2"), ([], None)):
        port = port_of(mesh, upstream, expect=SERVER, client=True, alpn=alpn)
        with running_port(port) as running, Line(connect(running)) as client, upstream.take() as service:
            client.send(HELLO)
            with server.wrap_socket(service.plain, server_side=True) as tls:
                assert (tls.recv(100), tls.selected_alpn_protocol()) == (HELLO, protocol)
