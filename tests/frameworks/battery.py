"""What every server of the table must do, each check with the value that the table shows.

A check raises AssertionError if the server does not do what its row promises. They run in one process of
the server, in the order of `CHECKS`; each leaves the files as it found them.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import attrs
from cryptography import x509

from meshid.testing import Issued
from tests.frameworks.dialects import Answer, Talk, connect
from tests.frameworks.rows import ServerRow
from tests.frameworks.scene import Row, Scene
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, TIMEOUT, stranger

CROWD_REQUESTS = 528
"""Of all of the crowd together; at least 500 a row."""
REFUSALS = 200
SERVED, REFUSED = 200, 403

Value = str | int | float | bool


@attrs.define
class Drill:
    """A server that runs, and who comes to it.

    Attributes:
        row: What it promises.
        running: Its process.
        good: A peer that may do all.
    """

    row: ServerRow
    running: Row
    good: Issued = attrs.field(init=False)
    _contexts: dict[Issued | None, ssl.SSLContext] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.good = self.scene.ca.issue("/ns/checkout/sa/good")

    @property
    def scene(self) -> Scene:
        return self.running.scene

    def connect(self, who: Issued | None, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        """Connect as somebody, or without a certificate."""
        return connect(self.row.dialect, self.running.port, self._context(who), session)

    def _context(self, who: Issued | None) -> ssl.SSLContext:
        """Return the one context of somebody: a session is of its context."""
        context = self._contexts.setdefault(who, stranger(who))
        if self.row.dialect.alpn:
            context.set_alpn_protocols(list(self.row.dialect.alpn))
        return context

    @contextlib.contextmanager
    def talking(
        self, who: Issued | None, session: ssl.SSLSession | None = None
    ) -> Iterator[tuple[Talk, ssl.SSLSocket]]:
        with self.connect(who, session) as tls:
            yield self.row.dialect.talk(tls), tls

    def ask(self, who: Issued | None, path: str, session: ssl.SSLSession | None = None) -> Answer:
        with self.talking(who, session) as (talk, _):
            return talk.ask(path)

    def sees(self, who: Issued | None, path: str) -> str:
        """Ask for something, and return what came of it, in a word."""
        try:
            answer = self.ask(who, path)
        except OSError as error:
            return seen(error)
        return str(answer.status)

    def sees_eagerly(self, who: Issued | None, path: str) -> str:
        """Do the same, with the request in the same packet as the last one of the handshake."""
        try:
            return self._eagerly(who, path)
        except OSError as error:
            return seen(error)

    def _eagerly(self, who: Issued | None, path: str) -> str:
        dialect = self.row.dialect
        with socket.create_connection((HOST, self.running.port), TIMEOUT) as plain:
            dialect.before_tls(plain)
            context = self._context(who)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(_received(plain))
            tls.write(dialect.hello(path))
            plain.sendall(outgoing.read())
            while True:
                try:
                    return "data" if tls.read(4096) else "EOF"
                except ssl.SSLWantReadError:
                    incoming.write(_received(plain))

    def is_out(self, who: Issued, path: str) -> bool:
        """Wait until somebody is refused, in each process of a server that has several."""
        return eventually(lambda: all(self.sees(who, path) != str(SERVED) for _ in range(8)))

    def arrived(self, mark: str) -> list[tuple[str, str, str]]:
        """Return the requests with this mark in their path that reached the application."""
        return [each for each in self.scene.requests() if mark in each[1]]

    def reasons(self, name: str) -> set[str]:
        """Return why this name was refused so far."""
        return {
            each["reason"] for each in self.scene.decisions() if each["name"] == name and not each["allowed"]
        }


def _received(plain: socket.socket) -> bytes:
    if not (came := plain.recv(65536)):
        msg = "EOF"
        raise ConnectionAbortedError(msg)
    return came


def seen(error: OSError) -> str:
    """Return the end of a connection in a word: the alert, ``EOF`` or ``reset``."""
    if isinstance(error, ssl.SSLEOFError) or "EOF" in str(error):
        return "EOF"
    if isinstance(error, ssl.SSLError) and "ALERT" in str(error.reason):
        return f"alert {str(error.reason).partition('ALERT_')[2].lower()}"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    return f"{type(error).__name__}: {error}"


def name_of(who: Issued) -> str:
    names = who.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return name


# -- The checks -----------------------------------------------------------------


def good(drill: Drill) -> Value:
    """The right peer is served, and the application knows who it is."""
    answer = drill.ask(drill.good, "/v1/charges/good")
    assert (answer.status, answer.peer) == (SERVED, name_of(drill.good))
    assert answer.path.endswith("/v1/charges/good")
    return "yes"


def eager(drill: Drill) -> Value:
    """A request in the same packet as the end of the handshake is served."""
    assert drill.sees_eagerly(drill.good, "/v1/charges/eager") == "data"
    return "served"


def refused(drill: Drill) -> Value:
    """Strangers see the end, eager or not; nothing of theirs reaches the application."""
    scene, saw = drill.scene, {}
    strangers: dict[str, tuple[Issued | None, str | None]] = {
        "trust": (scene.stranger.issue("/ns/checkout/sa/untrusted"), None),
        "forged": (scene.partner.issue("spiffe://prod.example.org/ns/checkout/sa/forged"), None),
        "policy": (scene.ca.issue("/ns/other/sa/nobody"), "no_rule"),
        "certificate": (None, None),
    }
    for mark, (who, reason) in strangers.items():
        path = f"/v1/charges/refused-{mark}"
        found = {drill.sees(who, path), drill.sees_eagerly(who, path), drill.sees(who, path)}
        # Who goes on writing may see the end of TCP before it reads the alert.
        alerts = {each for each in found if each.startswith("alert")}
        saw[mark] = alerts or found - {"reset"} or found
        if drill.row.at_handshake:
            assert not found & {str(SERVED), "data"}, (mark, found)
            assert len(saw[mark]) == 1, (mark, found)
        else:
            saw[mark] -= {"data"}
            assert str(SERVED) not in found, (mark, found)
        # What gRPC refuses itself, nobody else hears of.
        if who is not None and (drill.row.at_handshake or str(REFUSED) in found):
            assert eventually(functools.partial(drill.reasons, name_of(who))), mark
            assert reason is None or drill.reasons(name_of(who)) == {reason}
    assert drill.arrived("refused-") == []
    return ", ".join(sorted({each for found in saw.values() for each in found}))


def request_policy(drill: Drill) -> Value:
    """A peer that may connect, and not ask for this, is refused; and so is a good one that asks for more."""
    web = drill.scene.ca.issue("/ns/shop/sa/web")
    if not drill.row.judges_requests:
        assert drill.sees(web, "/v1/charges/refused-web") != str(SERVED)
        assert drill.arrived("refused-web") == []
        return "the connection only"
    saw = drill.sees(web, "/v1/charges/refused-web")
    with drill.talking(drill.good) as (talk, _):
        first = talk.ask("/v1/charges/then-refused")
        assert first.status == SERVED
        if drill.row.dialect.has_paths and drill.row.keeps:
            assert talk.ask("/v1/refunds/refused-more").status == REFUSED
    assert str(SERVED) not in {saw, drill.sees(drill.good, "/v1/refunds/refused-more")}
    assert drill.arrived("refused-web") == drill.arrived("refused-more") == []
    return saw


def plain_http(drill: Drill) -> Value:
    """HTTP without TLS gets no answer of the application."""
    with socket.create_connection((HOST, drill.running.port), TIMEOUT) as plain:
        drill.row.dialect.before_tls(plain)
        try:
            plain.sendall(
                b"GET /v1/charges/refused-plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            came = b""
            while some := plain.recv(4096):
                came += some
        except OSError as error:
            came = b""
            value = seen(error)
        else:
            value = "EOF"
    assert drill.arrived("refused-plain") == []
    if came.startswith(b"HTTP/"):
        value = came.split()[1].decode()
        assert value[0] == "4"
    elif came:
        value = "alert"
        assert came[0] == 0x15, came
    return value


SENT = {
    "/v1/charges/plain": "/v1/charges/plain",
    "/v1/charges/%61b": "/v1/charges/ab",
    "/v1/charges/caf%C3%A9": "/v1/charges/café",
    "/v1/charges/a%20b?refused=no": "/v1/charges/a b",
    "/v1/charges/%2561": None,
    "/v1/charges/caf%E9": None,
    "/v1/charges/caf\udce9": None,
    "/v1/charges/café": None,
    "//v1/charges/a": None,
    "/v1//charges/a": None,
    "/v1/charges/../charges/a": None,
    "/v1/./charges/a": None,
    "/v1/charges/%2e%2e/charges/a": None,
    "/v1/refunds/../charges/a": None,
    "/v1/charges/..%2frefunds": None,
    "/v1/charges/a%2Fb": None,
    "/v1/charges/a;b": None,
    "/v1/charges/a%00": None,
    "/v1/charges/a\\b": None,
}
"""Paths as they are sent, and as they must be routed; None must be refused, or routed as it is judged."""


def paths(drill: Drill) -> Value:
    """The path that is judged is the one that the application routes; an ambiguous one is refused."""
    if not (drill.row.dialect.has_paths and drill.row.judges_requests):
        return "-"
    repaired = 0
    for sent, routed in SENT.items():
        before = len(drill.scene.requests()), len(drill.scene.decisions())
        saw = drill.sees(drill.good, sent)
        arrived = drill.scene.requests()[before[0] :]
        judged = [
            each
            for each in drill.scene.decisions()[before[1] :]
            if each["call"] == "check" and each["allowed"]
        ]
        if routed is not None:
            expected = SERVED if drill.row.decodes or "%" not in sent else REFUSED
            assert saw == str(expected), (sent, saw)
        if arrived:
            assert len(arrived) == len(judged) == 1, (sent, arrived, judged)
            ((_, path, _),), (decision,) = arrived, judged
            _, _, asked = decision["request"].partition(" ")
            assert unquote(asked) == unquote(path), (sent, asked, path)
            assert routed in {None, unquote(path)}, (sent, path)
            repaired += routed is None
        else:
            assert saw != str(SERVED), (sent, saw)
    return f"{repaired} repaired before both" if repaired else "the same"


def crowd(drill: Drill) -> Value:
    """Many identities at once, over kept connections, pipelined and with slow bodies: none is confused."""
    count = drill.row.crowd
    each, rounds = CROWD_REQUESTS // count, 2
    callers = [drill.scene.ca.issue(f"/ns/checkout/sa/w{number}") for number in range(count)]
    gate = threading.Barrier(count)

    def call(number: int) -> int:
        gate.wait(TIMEOUT)
        return _many(drill, callers[number], number, each, rounds)

    with ThreadPoolExecutor(count) as pool:
        done = sum(pool.map(call, range(count)))
    for _, path, peer in drill.scene.requests():
        if path.startswith("/v1/charges/crowd-"):
            number = path.split("-")[1]
            assert peer == name_of(callers[int(number)]), (path, peer)
    assert done >= 500
    return done


def _many(drill: Drill, who: Issued, number: int, count: int, rounds: int) -> int:
    name, done = name_of(who), 0
    asked = [f"/v1/charges/crowd-{number}-{index}" for index in range(count)]

    def right(answer: Answer, path: str | None) -> int:
        assert (answer.status, answer.peer) == (SERVED, name)
        assert path is None or answer.path.endswith(path)
        return 1

    if not drill.row.keeps:
        return sum(right(drill.ask(who, path), path) for path in asked)
    with drill.talking(who) as (talk, _):
        some = count // 2
        for path in asked[:some]:
            done += right(talk.ask(path), path)
        for begin in range(some, count, 4):
            batch = asked[begin : begin + 4]
            done += sum(map(right, talk.ask_many(batch), batch))
        if drill.row.slow_bodies:
            for _ in range(rounds):
                answer = talk.post_slowly(100)
                done += right(answer, None)
                assert answer.length in {0, 100}
    return done


def rotation(drill: Drill) -> Value:
    """The service's own certificate changes while requests go on: none fails, and new connections see it."""
    stop, failures = threading.Event(), queue.SimpleQueue[BaseException]()

    def go_on() -> None:
        try:
            while not stop.is_set():
                if not drill.row.keeps:
                    assert drill.ask(drill.good, "/v1/charges/kept").status == SERVED
                    continue
                with drill.talking(drill.good) as (talk, _):
                    for _ in range(20):
                        assert talk.ask("/v1/charges/kept").status == SERVED
                        time.sleep(0.005)
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            failures.put(error)

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        begin, new = time.monotonic(), drill.scene.renew()

        def is_served() -> bool:
            with drill.talking(drill.good) as (talk, tls):
                assert talk.ask("/v1/charges/rotated").status == SERVED
                return tls.getpeercert(binary_form=True) == new

        assert eventually(is_served), "the new certificate is not served"
        seconds = time.monotonic() - begin
    finally:
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT)
    assert failures.empty(), repr(failures.get())
    return round(seconds, 1)


def idle(drill: Drill) -> Value:
    """An idle connection of a peer that was revoked ends; or its next octet is refused."""
    if not drill.row.keeps:
        return "-"
    who = drill.scene.ca.issue("/ns/checkout/sa/idle")
    with drill.talking(who) as (talk, tls):
        assert talk.ask("/v1/charges/idle").status == SERVED
        begin = time.monotonic()
        drill.scene.deny(name_of(who))
        ended = _ends(tls, 5.0 if drill.row.ends_idle else 1.5)
        seconds = time.monotonic() - begin
        if not ended:
            assert not drill.row.ends_idle, "it does not end"
            with contextlib.suppress(OSError):
                assert talk.ask("/v1/charges/refused-idle").status != SERVED
    assert drill.is_out(who, "/v1/charges/idle")
    assert drill.sees(who, "/v1/charges/refused-idle") != str(SERVED)
    assert drill.arrived("refused-idle") == []
    drill.scene.deny()
    assert ended == drill.row.ends_idle, "it does end, and the row says that it does not"
    return round(seconds, 1) if ended else "the next byte is refused"


def _ends(tls: ssl.SSLSocket, seconds: float) -> bool:
    tls.settimeout(seconds)
    try:
        # Anything else that comes is a farewell, such as the GOAWAY of HTTP/2.
        while tls.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    finally:
        with contextlib.suppress(OSError):
            tls.settimeout(TIMEOUT)
    return True


def running_stream(drill: Drill) -> Value:
    """A stream that runs ends when its peer is revoked."""
    if not drill.row.dialect.has_stream:
        return "-"
    who = drill.scene.ca.issue("/ns/checkout/sa/stream")
    with drill.talking(who) as (talk, _):
        talk.begin_stream()
        begin = time.monotonic()
        drill.scene.deny(name_of(who))
        talk.end_of_stream()
        seconds = time.monotonic() - begin
    drill.scene.deny()
    assert seconds < 6, f"it went on for {seconds:.1f} s"
    return round(seconds, 1)


def resumption(drill: Drill) -> Value:
    """A session that is resumed is judged again: when its authority is removed, it is refused."""
    scene = drill.scene
    who = scene.second.issue("/ns/checkout/sa/resumed")
    with drill.talking(who) as (talk, tls):
        assert talk.ask("/v1/charges/resumed").status == SERVED
        session = tls.session
    resumes = session is not None and session.has_ticket
    # Each process has tickets of its own.
    resumes = resumes and any(_resumes(drill, who, session) for _ in range(12))
    scene.trust(scene.ca)
    try:
        assert drill.is_out(who, "/v1/charges/resumed"), "it is not removed"
        try:
            answer = drill.ask(who, "/v1/charges/refused-resumed", session)
        except OSError:
            pass
        else:
            assert answer.status != SERVED
        assert drill.arrived("refused-resumed") == []
    finally:
        scene.trust(scene.ca, scene.second)
    assert eventually(lambda: drill.sees(who, "/v1/charges/resumed") == str(SERVED)), "it is not back"
    assert resumes == drill.row.resumes, f"resumes is {resumes}"
    return "judged again" if resumes else "none: full handshakes only"


def _resumes(drill: Drill, who: Issued, session: ssl.SSLSession | None) -> bool:
    with drill.talking(who, session) as (talk, tls):
        assert talk.ask("/v1/charges/resumed").status == SERVED
        return bool(tls.session_reused)


def descriptors(drill: Drill) -> Value:
    """Refusals leave no descriptor open."""
    who = drill.scene.ca.issue("/ns/other/sa/nobody")
    path = "/v1/charges/refused-again"

    def rest() -> int:
        assert drill.ask(drill.good, "/v1/charges/rest").status == SERVED
        return drill.running.descriptors()

    before = rest()
    with ThreadPoolExecutor(4) as pool:
        assert str(SERVED) not in set(pool.map(lambda _: drill.sees(who, path), range(REFUSALS)))
    assert eventually(lambda: rest() <= before + 1, 5.0), f"{before} descriptors are {rest()} now"
    assert drill.arrived("refused-again") == []
    return 0


def nothing_arrived(drill: Drill) -> Value:
    """In all that the application wrote, there is nothing of anybody who was refused."""
    requests = drill.scene.requests()
    assert [each for each in requests if "refused-" in each[1]] == []
    unnamed = {path for _, path, peer in requests if peer == "-"}
    assert unnamed <= {"/healthz"}
    return "yes"


def nobody(drill: Drill) -> Value:
    """A server that cannot work serves nobody: no stranger, and the right peer neither."""
    strangers = drill.scene.ca.issue("/ns/other/sa/nobody"), drill.scene.stranger.issue("/ns/checkout/sa/x")
    saw = {drill.sees(who, "/v1/charges/refused-any") for who in (drill.good, *strangers, None)}
    saw.add(str(plain_http(drill)))
    assert str(SERVED) not in saw
    assert drill.scene.requests() == []
    return ", ".join(sorted(saw - {"reset"} or saw))


CHECKS: tuple[Callable[[Drill], Value], ...] = (
    good,
    eager,
    refused,
    request_policy,
    plain_http,
    paths,
    crowd,
    rotation,
    idle,
    running_stream,
    resumption,
    descriptors,
    nothing_arrived,
)
