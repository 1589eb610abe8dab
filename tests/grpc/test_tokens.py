"""Bearer tokens in the metadata of calls, on both servers of grpcio."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from typing import Any, Unpack

import grpc
import pytest

from meshid import Reason, peer_of
from meshid.grpc import PeerInterceptor
from meshid.testing import Issued
from meshid.tokens.key_set import KeySets
from tests.helpers.bearer_scene import POLICY, SENT, BearerScene, policy_with_tokens
from tests.helpers.grpc_servers import GET, KINDS, LIST, SERVERS, TALK, Charges, secure, status
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, TIMEOUT, Heard, Parts

REFUSED = ("UNAUTHENTICATED", "peer rejected")
CALLS = """
[[allow]]
id   = "calls"
from = ["/ns/shop/**"]
to   = ["payments"]
http = ["POST /shop.Charges/Get", "POST /shop.Charges/Talk"]

[[allow]]
id       = "lists"
from     = ["@web"]
to       = ["payments"]
http     = ["POST /shop.Charges/List"]
evidence = ["x509", "token"]
"""


class Shop:
    """A server, and those who call it."""

    port: int

    def __init__(self, **parts: Unpack[Parts]) -> None:
        self.scene = BearerScene()
        self.heard = Heard()
        own = self.scene.ca.issue("/ns/pay/sa/payments", dns=["localhost"])
        all_parts: Parts = {
            "credentials": own.svid,
            "policy": policy_with_tokens(POLICY + CALLS),
            "audit": self.heard,
        }
        all_parts.update(parts)
        self.mesh = self.scene.mesh(**all_parts)
        self.charges = Charges()
        self.evidence: list[list[str]] = []
        self.charges.steps = {b"a": self.step, b"on": self.step}

    def step(self, _: bytes, context: Any) -> None:  # noqa: ANN401 - of both kinds
        self.evidence.append(sorted(peer_of(context).evidence))

    @contextlib.contextmanager
    def channel(self, pair: Issued) -> Iterator[grpc.Channel]:
        """Connect, as a connection of its own."""
        named = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        own = grpc.ssl_channel_credentials(self.scene.ca.pem, pair.key_pem, pair.chain_pem)
        with grpc.secure_channel(f"{HOST}:{self.port}", own, named) as channel:
            yield channel

    def told(self) -> list[Reason]:
        """Return the reasons of the calls so far."""
        return self.heard.of_handshakes()


def begun(channel: grpc.Channel, method: str, message: bytes, *values: str) -> Any:  # noqa: ANN401 - of gRPC
    """Begin a call with these values of ``authorization``."""
    metadata = [("authorization", value) for value in values]
    kind = KINDS[method]
    argument = iter([message]) if kind.startswith("stream") else message
    return getattr(channel, kind)(method)(argument, timeout=TIMEOUT, metadata=metadata)


def call(channel: grpc.Channel, method: str, *values: str) -> tuple[str, str]:
    """Make a call, and return its status."""

    def made() -> object:
        answered = begun(channel, method, b"a", *values)
        return answered if KINDS[method].endswith("_unary") else list(answered)

    return status(made)


@pytest.fixture(scope="module", params=list(SERVERS))
def running(request: pytest.FixtureRequest) -> Iterator[Shop]:
    shop = Shop()
    interceptor = PeerInterceptor(shop.mesh)
    with SERVERS[request.param](shop.charges, [interceptor], secure(interceptor)) as shop.port:
        yield shop


@pytest.fixture
def shop(running: Shop) -> Iterator[Shop]:
    """A server in its first state, which leaves no call behind."""
    running.mesh.publish(keys=running.scene.keys())
    running.charges.seen.clear()
    running.evidence.clear()
    running.told()
    yield running
    assert eventually(lambda: running.mesh.open_connections == 0)


def test_a_token_counts_is_left_alone_or_is_refused(shop: Shop) -> None:
    for name, sent in SENT.items():
        with shop.channel(shop.scene.web) as channel:
            got = call(channel, GET, *sent.values(shop.scene))
        if sent.reason is None:
            assert got == ("OK", ""), name
            assert shop.evidence == [["token", "x509"] if sent.counts else ["x509"]], name
            assert shop.told() == [Reason.ALLOWED], name
        else:
            assert got == REFUSED, name
            assert (shop.charges.seen, shop.evidence) == ([], []), name
            assert shop.told() == [sent.reason], name
        shop.charges.seen.clear()
        shop.evidence.clear()


def test_each_call_of_a_connection_has_its_own_token(shop: Shop) -> None:
    token = f"Bearer {shop.scene.token()}"
    with shop.channel(shop.scene.web) as channel:
        got = [call(channel, LIST, *values)[0] for values in ([token], [], [token])]
        assert got == ["OK", "PERMISSION_DENIED", "OK"]
        assert call(channel, GET)[0] == "OK"
    assert shop.evidence == [["token", "x509"], ["token", "x509"], ["x509"]]


def test_another_peer_has_nothing_of_a_token(shop: Shop) -> None:
    token = f"Bearer {shop.scene.token()}"
    with shop.channel(shop.scene.web) as web, shop.channel(shop.scene.desk) as desk:
        assert call(web, GET, token)[0] == "OK"
        assert call(desk, GET, token) == REFUSED
        assert call(desk, LIST)[0] == "PERMISSION_DENIED"
    assert shop.told() == [Reason.ALLOWED, Reason.TOKEN_DISAGREES, Reason.NO_RULE]


def test_a_call_that_runs_ends_when_its_token_counts_no_more(shop: Shop) -> None:
    """Another one, without a token, goes on over the same connection."""
    with shop.channel(shop.scene.web) as channel:
        ending = begun(channel, LIST, b"on", f"Bearer {shop.scene.token()}")
        assert next(ending)
        sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        sent.put(b"a")
        talk: Any = channel.stream_stream(TALK)
        kept = talk(iter(sent.get, None), timeout=TIMEOUT)
        assert next(kept)
        shop.mesh.publish(keys=KeySets())
        assert status(lambda: list(ending))[0] == "CANCELLED"
        assert call(channel, GET)[0] == "OK"
        sent.put(b"a")
        assert next(kept)
        sent.put(None)
        assert list(kept) == []
    assert shop.evidence == [["token", "x509"], ["x509"], ["x509"], ["x509"]]


def test_where_tokens_are_required_a_call_without_one_is_refused() -> None:
    shop = Shop(tokens="required")
    interceptor = PeerInterceptor(shop.mesh)
    serving = SERVERS["threads"](shop.charges, [interceptor], secure(interceptor))
    with serving as shop.port, shop.channel(shop.scene.web) as channel:
        assert call(channel, GET) == REFUSED
        assert call(channel, GET, f"Bearer {shop.scene.token()}")[0] == "OK"
    assert shop.told() == [Reason.NO_TOKEN, Reason.ALLOWED]
