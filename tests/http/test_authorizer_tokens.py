"""The authorizer, and the answers by a handle, about requests that have a bearer token."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest

from meshid import Mesh, Reason
from meshid.decisions import Call
from meshid.http import authorizer
from meshid.http.asgi import App, Message
from meshid.http.authorizer import AuthorizerApp
from meshid.http.requested import in_original
from meshid.port.handle_judge import HandleJudge
from meshid.port.handles import Handles
from meshid.testing import Issued
from meshid.tokens.key_set import KeySets
from tests.helpers.bearer_scene import SENT, BearerScene
from tests.helpers.forwarding import written
from tests.helpers.tls_peers import Heard, Memory, stranger
from tests.http.test_authorizer import question

INVALID = 'Bearer error="invalid_token"'
CHARGE, REFUND = ("POST", "/charges/1"), ("POST", "/refunds")


@attrs.frozen
class Answer:
    """What the proxy got."""

    status: int
    headers: dict[str, str]

    @property
    def reason(self) -> str | None:
        return self.headers.get("x-meshid-reason")

    @property
    def challenge(self) -> str | None:
        return self.headers.get("www-authenticate")


def answer_to(app: App, scope: dict[str, Any]) -> Answer:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError  # it never reads a body

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, body = sent
    assert body["body"] == b""
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert (len(headers), headers["cache-control"]) == (len(start["headers"]), "no-store")
    return Answer(int(start["status"]), headers)


class Asking:
    """An authorizer, and how its proxy tells it of a peer."""

    def __init__(self, way: str, **parts: Any) -> None:  # noqa: ANN401 - of a mesh
        self.scene, self.heard = BearerScene(), Heard()
        self.mesh: Mesh = self.scene.mesh(audit=self.heard, **parts)
        self.way = way
        self._handles = Handles()
        self._open: dict[bytes, tuple[Memory, bytes]] = {}
        self.app: App = (
            AuthorizerApp(in_original, HandleJudge(self.mesh, self._handles, None))
            if way == "port"
            else authorizer(self.mesh, proxy=way)
        )

    def ask(self, who: Issued, asked: tuple[str, str] = CHARGE, *credentials: str) -> Answer:
        fields = [(b"authorization", value.encode("latin-1")) for value in credentials]
        proxy = "nginx" if self.way == "port" else self.way
        return answer_to(self.app, question(proxy, *asked, [*self._presented(who), *fields]))

    def _presented(self, who: Issued) -> list[tuple[bytes, bytes]]:
        if self.way != "port":
            return list(written(self.way, who.chain))
        if who.chain[0] not in self._open:
            both = Memory(self.mesh.server_context(http=True), stranger(who))
            both.shake_hands()
            handle = self._handles.add(both.server)  # type: ignore[arg-type]
            self._open[who.chain[0]] = both, handle.encode()
        return [(b"x-meshid-connection", self._open[who.chain[0]][1])]

    def told(self) -> list[tuple[Call, Reason]]:
        told: list[tuple[Call, Reason]] = []
        while not self.heard.is_quiet():
            event = self.heard.next()
            told.append((event.call, event.decision.reason))
        return told


@pytest.fixture(scope="module", params=["nginx", "envoy", "port"])
def standing(request: pytest.FixtureRequest) -> Asking:
    return Asking(request.param)


@pytest.fixture
def asking(standing: Asking) -> Asking:
    standing.mesh.publish(keys=standing.scene.keys())
    standing.ask(standing.scene.web)
    standing.told()
    return standing


def test_a_token_counts_is_left_alone_or_is_refused(asking: Asking) -> None:
    for name, sent in SENT.items():
        for path in (CHARGE, REFUND):
            answer = asking.ask(asking.scene.web, path, *sent.values(asking.scene))
            if sent.reason is not None:
                assert (answer.status, answer.reason, answer.challenge) == (401, sent.reason, INVALID), name
            elif path == CHARGE or sent.counts:
                assert (answer.status, answer.challenge) == (200, None), name
                assert answer.headers["x-meshid-peer-name"] == "web"
            else:
                assert (answer.status, answer.reason, answer.challenge) == (403, Reason.NO_RULE, None), name
            [(_, reason)] = asking.told()
            assert reason == (answer.reason or Reason.ALLOWED)


def test_what_is_remembered_of_a_chain_and_a_request_has_nothing_of_a_token(asking: Asking) -> None:
    scene, token = asking.scene, f"Bearer {asking.scene.token()}"
    asked = [
        (scene.web, [token]),
        (scene.web, []),
        (scene.desk, [token]),
        (scene.desk, []),
        (scene.web, [token]),
    ]
    got = [asking.ask(who, REFUND, *values).status for who, values in asked]
    assert got == [200, 403, 401, 403, 200]
    asking.mesh.publish(keys=KeySets())
    assert asking.ask(scene.web, REFUND, token).status == 401
    assert asking.ask(scene.web).status == 200


def test_a_token_of_nobody_is_not_looked_at(asking: Asking) -> None:
    proxy = "nginx" if asking.way == "port" else asking.way
    answer = answer_to(asking.app, question(proxy, *CHARGE, [(b"authorization", b"Bearer a b")]))
    assert (answer.status, answer.reason, answer.challenge) == (401, Reason.NO_CERTIFICATE, None)


def test_a_peer_without_a_name_in_the_policy_has_none_in_the_answer(asking: Asking) -> None:
    unnamed = asking.scene.ca.issue("/ns/shop/sa/other")
    answer = asking.ask(unnamed)
    assert (answer.status, "x-meshid-peer-name" in answer.headers) == (200, False)


@pytest.mark.parametrize("way", ["nginx", "port"])
def test_where_tokens_are_required_a_request_without_one_is_asked_for_it(way: str) -> None:
    asking = Asking(way, tokens="required")
    answer = asking.ask(asking.scene.web)
    assert (answer.status, answer.reason, answer.challenge) == (401, Reason.NO_TOKEN, "Bearer")
    assert asking.ask(asking.scene.web, CHARGE, f"Bearer {asking.scene.token()}").status == 200
