"""The user's code may hang, raise, and ask the mesh anything: what is taken away is gone all the same."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from meshid import Mesh, Reason, Revocations
from meshid.admission.admission import Admission
from meshid.errors import MeshidError
from meshid.sources import SourceUnavailable, State, refresher, telling
from meshid.sources.refresher import Refresher
from meshid.sources.telling import Telling
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource, FakeStream
from tests.helpers.mounted import OWN, eventually
from tests.helpers.tls_peers import PATH, Service, asyncio_server, stranger
from tests.helpers.world import Clock
from tests.sources.test_removal import line

SECONDS = 2.0


pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "meshid.refresh")


class Code:
    """The user's code of one kind, which does what a test wants when it hears of a revocation.

    Attributes:
        act: What it does.
        heard: How often it was called.
        mesh: The mesh that calls it.
    """

    def __init__(self, kind: str, act: Callable[[], object]) -> None:
        self.kind = kind
        self.act = act
        self.heard = 0

    def __call__(self, *arguments: object) -> None:
        if self.kind == "a sink" and arguments[0].call != "review":  # type: ignore[attr-defined]
            return
        self.heard += 1
        self.act()

    mesh: Mesh

    @contextlib.contextmanager
    def meshed(self, *sources: FakeSource, state_file: Path | None = None) -> Iterator[Mesh]:
        """A mesh that calls it."""
        handler = logging.Handler(logging.INFO)
        handler.emit = self  # type: ignore[method-assign, assignment]
        logger = logging.getLogger("meshid.refresh")
        with Mesh.from_sources(
            sources,
            service="payments",
            audit=self if self.kind == "a sink" else None,
            on_revoked=self if self.kind == "on_revoked" else None,
            state_file=state_file,
        ) as self.mesh:
            if self.kind == "a log handler":
                logger.addHandler(handler)
            try:
                yield self.mesh
            finally:
                logger.removeHandler(handler)


KINDS = ("a sink", "on_revoked", "a log handler")


@attrs.frozen
class Scene:
    """A mesh, two open connections, and a way to remove their peers."""

    mesh: Mesh
    service: Service
    ca: CA
    source: FakeSource

    def deny(self, *paths: str) -> None:
        assert isinstance(self.source.now, State)
        deny = [f"spiffe://prod.example.org{path}" for path in paths]
        self.source.now = attrs.evolve(self.source.now, revocations=Revocations(deny=deny))


def ends(tls: object) -> bool:
    try:
        return tls.recv(10) == b""  # type: ignore[attr-defined, no-any-return]
    except OSError:
        return True


def both_are_ended(
    code: Code, own: FakeSource, ca: CA, state_file: Path | None = None, *, calls: int = 1
) -> None:
    """Remove one peer, and then, while *code* acts, another one; wait until it was called that often."""
    first, second = "/ns/shop/sa/one", "/ns/shop/sa/two"
    with (
        code.meshed(own, state_file=state_file) as mesh,
        asyncio_server(mesh.server_context()) as service,
        line(service.port, stranger(ca.issue(first))) as one,
        line(service.port, stranger(ca.issue(second))) as two,
    ):
        scene = Scene(mesh, service, ca, own)
        for denied, tls in ([first], one), ([first, second], two):
            scene.deny(*denied)
            removed = time.monotonic()
            assert ends(tls)
            assert time.monotonic() - removed < SECONDS
            assert eventually(lambda: code.heard)
        # A mesh that is closed tells nothing more.
        assert eventually(lambda: code.heard >= calls)
        assert mesh.health().ready
        assert mesh.status()["ready"]
        with contextlib.suppress(SourceUnavailable):
            mesh.refresh()
        if state_file is not None:
            denials = {"lists": 0, "denials": 2}
            assert eventually(lambda: json.loads(state_file.read_text())["revocations"] == denials, SECONDS)
        assert time.monotonic() - removed < SECONDS


@pytest.mark.parametrize("kind", KINDS)
def test_code_that_hangs_delays_nothing(kind: str, own: FakeSource, prod_ca: CA, tmp_path: Path) -> None:
    over = threading.Event()
    try:
        both_are_ended(Code(kind, over.wait), own, prod_ca, tmp_path / "state.json")
    finally:
        over.set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_code_that_raises_delays_nothing(
    kind: str, error: type[BaseException], own: FakeSource, prod_ca: CA
) -> None:
    def act() -> None:
        raise error

    code = Code(kind, act)
    both_are_ended(code, own, prod_ca, calls=2)


@pytest.mark.parametrize("kind", KINDS)
def test_code_may_ask_the_mesh_anything(kind: str, own: FakeSource, prod_ca: CA) -> None:
    answers: list[object] = []

    def act() -> None:
        mesh = code.mesh
        if len(answers) < 10:
            answers.append(None)
            answers[-1] = (mesh.health(), mesh.status(), mesh.refresh(), mesh.publish(), mesh.counts())

    code = Code(kind, act)
    both_are_ended(code, own, prod_ca)
    assert eventually(lambda: answers and answers[0])


@pytest.mark.parametrize("kind", KINDS)
def test_code_may_wait_for_a_probe_on_another_thread(kind: str, own: FakeSource, prod_ca: CA) -> None:
    def act() -> None:
        probe = threading.Thread(target=lambda: answers.append(code.mesh.health()))
        probe.start()
        probe.join()

    answers: list[object] = []
    code = Code(kind, act)
    both_are_ended(code, own, prod_ca)
    assert eventually(lambda: answers)


class TestSignals:
    """A signal handler runs in the main thread, in the middle of whatever that does."""

    @pytest.fixture
    def handled(self) -> Iterator[list[Callable[[], object]]]:
        """What the handler does, once."""
        todo: list[Callable[[], object]] = []

        def handle(*_: object) -> None:
            while todo:
                todo.pop()()

        before = signal.signal(signal.SIGUSR1, handle)
        yield todo
        signal.signal(signal.SIGUSR1, before)

    def test_it_may_refresh_publish_and_admit_inside_a_refresh(
        self,
        own: FakeSource,
        prod_ca: CA,
        handled: list[Callable[[], object]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        peer = prod_ca.issue(PATH)
        main = threading.get_ident()
        done: list[object] = []
        read = FakeSource.read

        def is_handled() -> bool:
            # Again and again: one that comes just before a wait begins is handled after that.
            if handled:
                signal.pthread_kill(main, signal.SIGUSR1)
            return not handled

        def read_and_signal(source: FakeSource) -> State:
            # The main thread waits for this read; and then, in the handler, for the next one.
            assert eventually(is_handled)
            return read(source)

        with Mesh.from_sources([own], service="payments") as mesh:

            def act() -> None:
                done.extend([mesh.refresh(), mesh.publish(), mesh.admit(peer.chain), mesh.health()])

            monkeypatch.setattr(FakeSource, "read", read_and_signal)
            handled.append(act)
            mesh.refresh()
            assert len(done) == 4

    def test_it_may_do_so_while_anything_is_asked(
        self, own: FakeSource, prod_ca: CA, handled: list[Callable[[], object]], clock: Clock
    ) -> None:
        """The clock is asked in the middle of every question."""
        peer = prod_ca.issue(PATH)
        done: list[object] = []

        def signalling() -> float:
            if handled and threading.current_thread() is threading.main_thread():
                signal.raise_signal(signal.SIGUSR1)
            return clock()

        with Mesh.from_sources([own], service="payments", clock=signalling) as mesh:
            admitted = mesh.admit(peer.chain)
            questions: list[Callable[[], object]] = [
                mesh.health,
                mesh.status,
                mesh.publish,
                mesh.refresh,
                lambda: mesh.admit(peer.chain),
                lambda: mesh.check(admitted),
            ]
            for outer in questions:
                for inner in questions:
                    handled.append(lambda inner=inner: done.append(inner()))  # type: ignore[misc]
                    outer()
                    if handled:
                        # It asks no clock on this thread.
                        signal.raise_signal(signal.SIGUSR1)
            assert len(done) == len(questions) ** 2


class TestSources:
    def test_one_that_hangs_is_not_waited_for_long(
        self, own: FakeSource, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        over = threading.Event()

        class Hanging(FakeSource):
            def read(self) -> State:
                if self.reads:
                    over.wait()
                return super().read()

        hanging = Hanging("hanging", State())
        monkeypatch.setattr(refresher, "REFRESH_SECONDS", 0.2)
        try:
            with Mesh.from_sources([own, hanging], service="payments") as mesh:
                renewed = prod_ca.issue(OWN).svid
                assert isinstance(own.now, State)
                own.now = attrs.evolve(own.now, credentials=renewed)
                with pytest.raises(SourceUnavailable, match=r"^hanging: it was not read within 0\.2 s$"):
                    mesh.refresh()
                assert mesh.snapshot.credentials == renewed
                assert mesh.health().ready
        finally:
            over.set()

    def test_one_may_refresh_the_mesh_that_reads_it(self, own: FakeSource) -> None:
        class Refreshing(FakeSource):
            mesh: Mesh | None = None
            calls = 0

            def read(self) -> State:
                if self.mesh is not None:
                    self.mesh.refresh()
                    self.calls += 1
                return super().read()

        source = Refreshing("refreshing", State())
        with Mesh.from_sources([own, source], service="payments") as mesh:
            source.mesh = mesh
            assert eventually(lambda: source.calls > 2)

    def test_who_waits_for_one_when_the_end_comes_waits_no_more(
        self, own: FakeSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads, over = threading.Event(), threading.Event()

        def read(source: FakeSource) -> State:
            reads.set()
            over.wait()
            assert isinstance(source.now, State)
            return source.now

        mesh = Mesh.from_sources([own], service="payments")
        monkeypatch.setattr(FakeSource, "read", read)
        monkeypatch.setattr(refresher, "REFRESH_SECONDS", 1000.0)
        try:
            with ThreadPoolExecutor(1) as pool:
                assert reads.wait(10)
                refreshed = pool.submit(mesh.refresh)
                assert eventually(lambda: mesh.sources() and refreshed.running())
                mesh.close()
                assert refreshed.result(10) is mesh.snapshot
        finally:
            over.set()

    def test_after_the_end_nobody_is_waited_for(self, own: FakeSource) -> None:
        mesh = Mesh.from_sources([own], service="payments")
        mesh.close()
        assert mesh.refresh() is mesh.snapshot

    @pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1)], ids=["cancelled", "exit"])
    def test_one_that_raises_anything_is_read_again(self, own: FakeSource, error: BaseException) -> None:
        denied = FakeSource("denied", State())
        with Mesh.from_sources([own, denied], service="payments") as mesh:
            denied.now = error
            reads = denied.reads
            assert eventually(lambda: denied.reads > reads + 2)
            assert eventually(lambda: [alarm.about for alarm in mesh.health().alarms] == ["denied"])
            denial = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])
            denied.now = State(revocations=denial)
            assert eventually(lambda: mesh.snapshot.revocations == denial)

    def test_one_whose_error_has_no_text_is_read_again(self, own: FakeSource) -> None:
        class Mute(MeshidError):
            def __str__(self) -> str:
                raise ZeroDivisionError

        good, own.now = own.now, Mute()
        with pytest.raises(SourceUnavailable, match=r"^own: Mute: \(its text cannot be made\)$"):
            Mesh.from_sources([own], timeout=0.1)
        own.now = good
        with Mesh.from_sources([own], service="payments"):
            pass

    @pytest.mark.parametrize("pause", [float("inf"), float("nan"), -1.0, "soon", Decimal(1)])
    def test_one_whose_pause_is_odd_is_read_again(
        self, own: FakeSource, pause: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(FakeSource, "pause", lambda _: pause)
        monkeypatch.setattr("meshid.sources.reader.RETRY_SECONDS", 0.01)
        with Mesh.from_sources([own], service="payments") as mesh:
            reads = own.reads
            mesh.refresh()
            assert own.reads > reads

    def test_one_that_returns_something_else_is_named(self, own: FakeSource) -> None:
        own.now = None  # type: ignore[assignment]
        with pytest.raises(SourceUnavailable, match=r"^own: read\(\) must return a State, not NoneType$"):
            Mesh.from_sources([own], timeout=5)

    def test_one_whose_close_fails_keeps_no_other_open(self, own: FakeSource) -> None:
        class Failing(FakeSource):
            def close(self) -> None:
                raise SystemExit

        with Mesh.from_sources([Failing("failing", State()), own], service="payments"):
            pass
        assert own.is_closed

    @pytest.mark.parametrize("junk", [None, float("nan"), 1e300, "noon"])
    def test_a_clock_that_fails_delays_no_removal(
        self, own: FakeSource, junk: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        failing: list[bool] = []

        def clock() -> Any:  # noqa: ANN401 - whatever it says
            if failing and junk is None:
                raise ZeroDivisionError
            return junk if failing else time.time()

        assert isinstance(own.now, State)
        stream = FakeStream(own.now)
        with Mesh.from_sources([stream], service="payments", clock=clock) as mesh:
            failing.append(True)
            denial = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])
            stream.news.put(attrs.evolve(own.now, revocations=denial))
            assert eventually(lambda: mesh.snapshot.revocations == denial)
            # Nor does it stop what is done each second.
            time.sleep(0.1)
            assert "a bug in meshid" not in caplog.text


class TestTelling:
    def test_what_is_too_much_is_left_out_and_counted(
        self, own: FakeSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(telling, "MAX_WAITING", 2)
        over = threading.Event()
        admission = Admission({}, service="payments")
        refreshing = Refresher(admission, [own])
        refreshing.start(10.0)
        try:
            telling_now = refreshing._telling  # noqa: SLF001 - where it is full
            for _ in range(6):
                telling_now.put(over.wait)
            assert eventually(
                lambda: any("had to be left out" in alarm.text for alarm in refreshing.alarms())
            )
            (alarm,) = refreshing.alarms()
            assert alarm.about == "what there is to tell"
        finally:
            over.set()
            refreshing.close()

    def test_a_forked_child_has_a_thread_of_its_own(self) -> None:
        over, told = threading.Event(), threading.Event()
        one = Telling()
        one.put(over.wait)
        one.restart()
        one.put(told.set)
        assert told.wait(10)
        one.close()
        one.thread.join(10)


def test_the_reasons_are_told(own: FakeSource, prod_ca: CA) -> None:
    reasons: list[Reason] = []
    with (
        Mesh.from_sources(
            [own], service="payments", on_revoked=lambda _, rejection, __: reasons.append(rejection.reason)
        ) as mesh,
        asyncio_server(mesh.server_context()) as service,
    ):
        with line(service.port, stranger(prod_ca.issue(PATH))) as tls:
            Scene(mesh, service, prod_ca, own).deny(PATH)
            assert ends(tls)
        assert eventually(lambda: reasons == [Reason.DENY_LISTED])
