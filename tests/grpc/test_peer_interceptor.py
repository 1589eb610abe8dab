"""Calls on both servers of grpcio: who may make them, what reaches the application, and when they end."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
import pytest

from meshid import ConnectionEnded, Decision, NoPeer, Peer, PeerRejected, Reason, peer_of
from meshid.grpc import PeerInterceptor
from meshid.grpc.aio_call import AioCall, _abort
from meshid.grpc.call_judge import CallJudge
from tests.helpers.grpc_servers import (
    CHECKOUT,
    GET,
    KINDS,
    LIST,
    NO_LISTS,
    NOWHERE,
    OTHER,
    PUT,
    RAW,
    SERVERS,
    TALK,
    Charges,
    RawCall,
    Scene,
    Served,
    answer,
    policy,
    raw_context,
    secure,
    started,
    status,
)
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import TIMEOUT

REFUSED = ("PERMISSION_DENIED", "peer rejected")
CANCELLED = "CANCELLED"
NAME = f"spiffe://prod.example.org{CHECKOUT}".encode()


def peer_or_refusal(context: object) -> Peer | PeerRejected | NoPeer:
    try:
        return peer_of(context)
    except (PeerRejected, NoPeer) as error:
        return error


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="module", params=list(SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    made: str = request.param
    return made


@pytest.fixture(scope="module")
def server(kind: str, scene: Scene) -> Iterator[Served]:
    charges, interceptor = Charges(), PeerInterceptor(scene.mesh)
    with SERVERS[kind](charges, [interceptor], secure(interceptor)) as port:
        yield Served(scene, charges, port)


@pytest.fixture
def served(server: Served) -> Iterator[Served]:
    """A server in its first state, which leaves no call behind."""
    server.scene.reset()
    server.charges.__init__()  # type: ignore[misc]
    yield server
    server.scene.reset()
    assert eventually(lambda: server.scene.mesh.open_connections == 0)


@pytest.mark.parametrize("method", KINDS)
def test_a_call_is_answered_and_its_handler_knows_who_calls(served: Served, method: str) -> None:
    for _ in range(2):
        with served.channel(served.scene.checkout) as channel:
            assert answer(channel, method, b"a") == [NAME]
    assert served.charges.seen == 2 * [f"look up {method}", "decode b'a'", f"{CHECKOUT} b'a'"]
    assert served.scene.reasons() == ["allowed", "allowed"]


@pytest.mark.parametrize("method", [*KINDS, NOWHERE])
@pytest.mark.parametrize(
    ("name", "reason"),
    [("nobody", "no_rule"), ("web", "no_rule"), ("forged", "foreign_authority"), ("other", "deny_listed")],
)
def test_nothing_of_a_refused_call_reaches_the_application(
    served: Served, method: str, name: str, reason: str
) -> None:
    served.scene.revoke(OTHER)
    # The one call that it may make is another one.
    method = LIST if (name, method) == ("web", GET) else method
    with served.channel(getattr(served.scene, name)) as channel:
        assert status(lambda: answer(channel, method, b"a")) == REFUSED
    assert served.charges.seen == []
    assert served.scene.reasons() == [reason]


def test_who_is_admitted_learns_that_there_is_no_such_method(served: Served) -> None:
    with served.channel(served.scene.checkout) as channel:
        assert status(lambda: answer(channel, NOWHERE, b"a")) == ("UNIMPLEMENTED", "Method not found!")
    assert served.charges.seen == [f"look up {NOWHERE}"]


@pytest.mark.parametrize("message", [b"a", b"broken", None], ids=["a message", "a broken one", "none"])
def test_a_stranger_cannot_tell_which_methods_there_are(served: Served, message: bytes | None) -> None:
    """Not even one who sends no message, for which a server would wait: it holds no thread, either."""
    seen = []
    for method in [*KINDS, NOWHERE]:
        with RawCall(served.port, raw_context(served.scene.nobody)) as call:
            call.begin(method, message)
            seen.append(call.rest())
    assert seen[0][0][0] == (":status", "200")  # type: ignore[index]
    assert len({repr(each) for each in seen}) == 1
    assert served.charges.seen == []


@pytest.mark.parametrize(
    "method",
    [
        *(f"{GET}{more}" for more in ("?", "?a=b", "%3F", ";v=1", "#a", "\\x")),
        *("/shop.Charges/%47et", "/shop.Charges//Get", f"/{GET}", "/a/../shop.Charges/Get", GET[1:], "*"),
    ],
)
def test_a_method_that_could_be_read_as_another_one_is_refused(served: Served, method: str) -> None:
    """The application gets a method as it was sent: a policy about any other text would protect nothing."""
    with RawCall(served.port, raw_context(served.scene.checkout)) as call:
        call.begin(method, b"a")
        trailers = repr(call.rest())
    assert "('grpc-status', '7')" in trailers
    assert served.charges.seen == []
    assert served.scene.reasons() == ["unsafe_request"]


def test_a_session_that_is_resumed_is_judged(served: Served) -> None:
    context = raw_context(served.scene.checkout)
    sessions: list[ssl.SSLSession | None] = []
    for revoked in (False, False, True):
        if revoked:
            served.scene.revoke(CHECKOUT)
        with RawCall(served.port, context, sessions[-1] if sessions else None) as call:
            call.begin(GET, b"a")
            rest = call.rest()
            assert bool(call.tls.session_reused) is bool(sessions)
            assert (NAME in repr(rest).encode()) is not revoked
            sessions.append(call.tls.session)
    assert served.scene.reasons() == ["allowed", "allowed", "deny_listed"]


# -- Calls that run ------------------------------------------------------------


@pytest.mark.parametrize(("method", "first"), [(LIST, b"on"), (TALK, b"a")], ids=["busy", "idle"])
def test_a_call_that_runs_ends_with_its_peer(served: Served, method: str, first: bytes) -> None:
    with served.channel(served.scene.checkout) as channel, served.channel(served.scene.other) as spared:
        kept = started(spared, LIST, b"on")
        assert next(kept)
        call = getattr(channel, KINDS[method])(method)
        sent: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        running = call(first if method == LIST else iter(sent.get, None))
        sent.put(first)
        assert next(running) == NAME
        assert served.scene.mesh.open_connections == 2
        served.scene.revoke(CHECKOUT)
        since = time.monotonic()
        assert status(lambda: list(running))[0] == CANCELLED
        assert time.monotonic() - since < 1
        # The handler has ended as well; that of an earlier test may have just now.
        assert NAME in iter(lambda: served.charges.ended.get(timeout=TIMEOUT), None)
        sent.put(b"too late")
        sent.put(None)
        # The same connection, and it is still open.
        assert status(lambda: answer(channel, GET, b"b")) == REFUSED
        assert next(kept)
        kept.cancel()
    assert "too late" not in repr(served.charges.seen)
    ended = next(each for each in served.scene.events if each.call == "review")
    assert ended.connection.address == "127.0.0.1"


def test_a_call_ends_when_its_method_is_no_longer_allowed(served: Served) -> None:
    with served.channel(served.scene.checkout) as channel:
        no_more, kept = started(channel, LIST, b"on"), started(channel, TALK, b"a", b"b")
        assert next(no_more)
        assert next(kept)
        served.scene.mesh.publish(policy=policy(NO_LISTS))
        assert status(lambda: list(no_more))[0] == CANCELLED
        assert list(kept) == [NAME]


@pytest.mark.parametrize("method", KINDS)
def test_what_a_handler_answers_after_the_end_of_its_peer_is_not_sent(served: Served, method: str) -> None:
    """The end is known at once, before anything had the time to cancel the call."""
    known: list[object] = []

    def revoke(_: bytes, context: object) -> None:
        served.scene.revoke(CHECKOUT)
        known.append(peer_or_refusal(context))

    served.charges.steps[b"revoke"] = revoke
    with served.channel(served.scene.checkout) as channel:
        received = []

        def read() -> None:
            if method in {GET, PUT}:
                received.append(answer(channel, method, b"revoke"))
            else:
                received.extend(started(channel, method, b"revoke"))

        assert status(read)[0] == CANCELLED
    assert received == []
    assert eventually(lambda: [type(each) for each in known] == [ConnectionEnded])


def test_who_is_refused_between_the_decision_and_the_watch_is_refused(served: Served) -> None:
    scene = served.scene
    scene.on_event = lambda event: scene.revoke(CHECKOUT) if event.call == "admit" else None
    with served.channel(scene.checkout) as channel:
        assert status(lambda: answer(channel, GET, b"a"))[0] in {REFUSED[0], CANCELLED}
    assert served.charges.seen == []


def test_no_call_is_left_behind_however_it_ends(served: Served) -> None:
    """About 900 calls: answered, refused, raised, aborted, cancelled, too slow, and gone."""
    served.charges.steps |= {
        b"raise": lambda *_: 1 / 0,
        b"abort": lambda _, context: context.set_code(grpc.StatusCode.ABORTED),
    }
    logging.disable(logging.CRITICAL)  # grpcio shows what a handler has raised
    try:
        for _ in range(20):
            with served.channel(served.scene.checkout) as channel, served.channel(served.scene.web) as web:
                for method in KINDS:
                    for message in (b"a", b"raise", b"abort", b"broken"):
                        status(lambda m=method, b=message: answer(channel, m, b))  # type: ignore[misc]
                        status(lambda m=method, b=message: answer(web, m, b))  # type: ignore[misc]
                status(lambda: answer(channel, NOWHERE, b"a"))
                slow = [started(channel, LIST, b"on", timeout=0.05) for _ in range(6)]
                for call in [started(channel, LIST, b"on") for _ in range(6)]:
                    next(call)
                    call.cancel()
                for call in slow:
                    assert status(lambda call=call: list(call))[0] == "DEADLINE_EXCEEDED"  # type: ignore[misc]
                gone = started(channel, LIST, b"on")
                next(gone)
        # One that has had its time may not even be judged.
        assert len(served.scene.reasons()) >= 800
        assert eventually(lambda: served.scene.mesh.open_connections == 0)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("reads", [True, False], ids=["reads at last", "never reads"])
def test_an_end_while_the_first_message_is_on_its_way(served: Served, reads: bool) -> None:  # noqa: FBT001
    """gRPC does not know yet that it has sent the initial metadata: its status would fail, and never come."""
    large = 1 << 20
    served.charges.steps[b"large"] = lambda *_: bytes(large)
    with RawCall(served.port, raw_context(served.scene.checkout)) as call:
        call.begin(LIST, b"large")
        call.until_it_waits()
        served.scene.revoke(CHECKOUT)
        if reads:
            call.allow(2 * large)
            last = repr(call.rest()[-1])
            assert "('grpc-status', '1')" in last or last == "'reset 8'"
        # A handler waits no longer than a second for who does not read.
        assert bytes(large) in iter(lambda: served.charges.ended.get(timeout=TIMEOUT), None)


def test_a_handler_that_goes_on_when_its_client_has_gone_is_not_watched(served: Served, kind: str) -> None:
    begun, over = threading.Event(), threading.Event()

    def go_on(*_: object) -> None:
        begun.set()
        assert over.wait(TIMEOUT)

    served.charges.steps[b"go on"] = go_on
    with served.channel(served.scene.checkout) as channel:
        call = started(channel, GET, b"go on")
        assert begun.wait(TIMEOUT)
        call.cancel()
        # A handler that holds up its loop holds up everything.
        assert kind == "aio" or eventually(lambda: served.scene.mesh.open_connections == 0)
        over.set()


# -- As without an interceptor --------------------------------------------------


def test_a_call_of_one_message_that_has_none_fails(served: Served) -> None:
    with RawCall(served.port, raw_context(served.scene.checkout)) as call:
        call.begin(GET)
        call.end()
        assert "exactly one request message" in repr(call.rest())


def test_what_a_handler_gets_wrong_is_told_as_grpc_tells_it(served: Served, kind: str) -> None:
    def lost(*_: object) -> NoReturn:
        raise ConnectionEnded(Decision(allowed=False, reason=Reason.NO_RULE))

    served.charges.steps[b"another connection"] = lost
    logging.disable(logging.CRITICAL)
    try:
        with served.channel(served.scene.checkout) as channel:
            codes = {each: status(lambda m=each: answer(channel, GET, m)) for each in _WRONG}  # type: ignore[misc]
            raw = status(lambda: answer(channel, RAW, b"a"))
    finally:
        logging.disable(logging.NOTSET)
    assert [code for code, _ in codes.values()] == (
        ["INTERNAL", "INTERNAL", "UNKNOWN"] if kind == "threads" else ["UNKNOWN", "UNKNOWN", "UNKNOWN"]
    )
    assert (raw[0] == "OK") is (kind == "threads")
    assert kind == "threads" or "is not async: write it with 'async def', or use grpc.server" in raw[1]


_WRONG = (b"broken", b"nothing", b"another connection")


# -- Who is it? ------------------------------------------------------------------


def test_a_context_tells_its_peer_in_its_own_call_only(served: Served) -> None:
    contexts: list[object] = []
    variables: list[contextvars.Context] = []
    known: list[object] = []

    def look(_: bytes, context: object) -> None:
        contexts.append(context)
        variables.append(contextvars.copy_context())
        known.append([peer_or_refusal(each) for each in contexts])
        thread = threading.Thread(target=lambda: known.append(peer_or_refusal(context)))
        thread.start()
        thread.join(TIMEOUT)

    served.charges.steps[b"look"] = look
    with served.channel(served.scene.checkout) as channel, served.channel(served.scene.other) as other:
        answer(channel, GET, b"look")
        answer(other, GET, b"look")
    (first,), elsewhere, (stale, second), _ = known  # type: ignore[misc]
    assert [first.spiffe_id.path, second.spiffe_id.path] == [CHECKOUT, OTHER]  # type: ignore[has-type]
    assert {type(elsewhere), type(stale)} == {NoPeer}  # type: ignore[has-type]
    assert "give the server a meshid.grpc.PeerInterceptor, and ask in the call itself" in str(elsewhere)
    assert eventually(lambda: served.scene.mesh.open_connections == 0)
    # As in a thread that goes on after the call, with its variables.
    over = variables[0].run(peer_or_refusal, contexts[0])
    assert isinstance(over, NoPeer)
    assert str(over) == "the call is over"


# -- One server alone -------------------------------------------------------------


class Late(grpc.ServerInterceptor):
    """Stands before ours, and waits until the client has gone."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:  # noqa: ANN401
        handler = continuation(handler_call_details)

        def respond(requests: Any, context: Any) -> Iterator[object]:  # noqa: ANN401
            self.begun.set()
            assert eventually(lambda: not context.is_active())
            yield from handler.stream_stream(requests, context)
            self.over.set()

        return grpc.stream_stream_rpc_method_handler(respond)


def test_a_call_that_is_over_before_it_is_watched_is_not_left_behind() -> None:
    scene, charges, late = Scene(), Charges(), Late()
    interceptor = PeerInterceptor(scene.mesh)
    with SERVERS["threads"](charges, [late, interceptor], secure(interceptor)) as port:
        with Served(scene, charges, port).channel(scene.checkout) as channel:
            call = started(channel, LIST, b"on")
            assert late.begun.wait(TIMEOUT)
            call.cancel()
        assert late.over.wait(TIMEOUT)
    assert scene.reasons() == ["allowed"]
    assert scene.mesh.open_connections == 0
    assert charges.seen == []


class Untouchable:
    """A context that has been given back."""

    def __init__(self) -> None:
        self.touched: list[str] = []

    def __getattr__(self, name: str) -> object:
        self.touched.append(name)
        raise AttributeError


def test_a_call_that_has_ended_is_not_touched() -> None:
    """gRPC has given it back, and would crash."""
    context: Any = Untouchable()
    details: Any = Late()
    details.method = GET

    async def run() -> None:
        task: asyncio.Task[object] = asyncio.create_task(asyncio.sleep(0, object()))
        await task
        call = AioCall(CallJudge(Scene().mesh, None), details, details)
        call._end(task, context)  # noqa: SLF001 - what the mesh calls at an unlucky moment
        assert call._abort is None  # noqa: SLF001
        await _abort(task, context)

    asyncio.run(run())
    assert context.touched == []
