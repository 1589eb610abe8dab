"""The authorizer under the servers that people have, on a private Unix socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshid import Mesh
from meshid.http import authorizer
from meshid.http.private_socket import private_socket
from meshid.testing import CA
from tests.helpers.forwarding import Pairs, written
from tests.helpers.tls_peers import Heard
from tests.helpers.unix_http import SERVERS, UnixConnection

HOST = (b"Host", b"meshid")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def leaf(prod_ca: CA) -> Pairs:
    return written("nginx", prod_ca.issue("/ns/shop/sa/web").chain)


def original(method: bytes, target: bytes) -> Pairs:
    return [HOST, (b"X-Original-Method", method), (b"X-Original-URI", target)]


@pytest.fixture
def nginx(server: str, mesh: Mesh, tmp_path: Path) -> Iterator[UnixConnection]:
    tmp_path.chmod(0o750)
    path = tmp_path / "a.sock"
    app = authorizer(mesh, proxy="nginx")
    with private_socket(path) as listener, SERVERS[server](app, listener), UnixConnection(path) as connection:
        yield connection


def test_questions_are_answered_on_one_connection(nginx: UnixConnection, leaf: Pairs, heard: Heard) -> None:
    for _ in range(3):
        got = nginx.ask(b"GET", b"/authorize", [*original(b"POST", b"/charges?a=b"), *leaf])
        assert (got.status, got.headers["x-meshid-peer"], got.body) == (
            200,
            "spiffe://prod.example.org/ns/shop/sa/web",
            b"",
        )
        assert got.headers["cache-control"] == "no-store"
        assert heard.next().decision.request == "POST /charges"
    assert nginx.ask(b"HEAD", b"/authorize?x=y", original(b"GET", b"/")).status == 401
    assert nginx.ask(b"GET", b"/", original(b"GET", b"/")).status == 404
    got = nginx.ask(b"GET", b"/authorize", [*original(b"GET", b"/"), *leaf, *leaf])
    assert (got.status, got.headers["x-meshid-reason"], got.body) == (403, "malformed_certificate", b"")


def test_bytes_arrive_as_they_were_sent(nginx: UnixConnection, leaf: Pairs) -> None:
    for target in (b"/\xe9", b"/\xc3\xa9"):
        got = nginx.ask(b"GET", b"/authorize", [*original(b"GET", target), *leaf])
        assert (got.status, got.headers["x-meshid-reason"]) == (403, "unsafe_request")
    assert nginx.ask(b"GET", b"/authorize", [*original(b"GET", b"/%C3%A9"), *leaf]).status == 200


def test_a_large_certificate_is_a_refusal_and_no_error(nginx: UnixConnection, leaf: Pairs) -> None:
    large = [(leaf[0][0], leaf[0][1] + b"A" * 100_000)]
    assert nginx.ask(b"GET", b"/authorize", [*original(b"GET", b"/"), *large]).status == 403


def test_envoy_asks_with_the_clients_own_method_and_target(
    server: str, mesh: Mesh, prod_ca: CA, tmp_path: Path, heard: Heard
) -> None:
    tmp_path.chmod(0o750)
    leaf = [HOST, *written("envoy", prod_ca.issue("/ns/support/sa/desk").chain)]
    app = authorizer(mesh, proxy="envoy")
    path = tmp_path / "a.sock"
    with private_socket(path) as listener, SERVERS[server](app, listener), UnixConnection(path) as envoy:
        for method, target, status in (
            (b"GET", b"/charges/7?a=b", 200),
            (b"HEAD", b"/charges/7", 403),
            (b"GET", b"/charges/%2e%2e/7", 403),
            (b"GET", b"/charges//7", 403),
            (b"OPTIONS", b"*", 403),
        ):
            assert envoy.ask(method, b"/authorize" + target, leaf).status == status, target
    assert [heard.next().decision.request for _ in range(3)] == [
        "GET /charges/7",
        "HEAD /charges/7",
        "'GET /charges/%2e%2e/7'",
    ]
