"""A mesh is kept up to date with its sources: from the first state to the last, whatever they do."""

from __future__ import annotations

import gc
import queue
import socket
import sys
import threading
import time
import weakref
from datetime import datetime, timedelta
from pathlib import Path

import attrs
import pytest

from meshid import BundleSet, Denial, Mesh, PeerRejected, Reason, Revocations, peer_of
from meshid.admission.admission import Admission
from meshid.errors import InvalidInput
from meshid.sources import SourceUnavailable, State, refresher
from meshid.sources.refresher import Refresher, restart_all
from meshid.testing import CA
from meshid.trust.crl import Undetermined
from tests.helpers.fake_sources import FakeSource, FakeStream
from tests.helpers.mounted import OWN, alarms, eventually, sources_in
from tests.helpers.processes import ends_well
from tests.helpers.tls_peers import CLOSED_POLICY, PATH, admission_of, asyncio_server, knock, policy, stranger
from tests.helpers.world import HOUR, Clock

pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "meshid.refresh")


class TestStart:
    def test_the_first_state_is_in_force_when_it_returns(self, own: FakeSource) -> None:
        with Mesh.from_sources([own], service="payments") as mesh:
            assert mesh.snapshot.credentials == own.read().credentials
            assert mesh.snapshot.policy == policy()
        assert own.is_closed

    def test_what_is_wrong_is_logged_at_once_and_raised_in_the_end(
        self, own: FakeSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        own.now = SourceUnavailable("own: '/tls.crt' cannot be read: No such file or directory")
        other = FakeSource("policy", SourceUnavailable("policy: typo"))
        with pytest.raises(SourceUnavailable) as caught:
            Mesh.from_sources([own, other], timeout=0.2)
        wrong = ["own: '/tls.crt' cannot be read: No such file or directory", "policy: typo"]
        assert str(caught.value).splitlines() == wrong
        (logged,) = alarms(caplog)
        assert logged.startswith("not ready yet, waiting up to 0.2 s: ")
        assert own.is_closed
        assert other.is_closed

    def test_what_is_not_waited_for_is_not_logged_as_if_it_were(
        self, own: FakeSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(SourceUnavailable, match=r"^policy: typo$"):
            Mesh.from_sources([own, FakeSource("policy", InvalidInput("typo"))], timeout=0.2)
        assert alarms(caplog) == []

    def test_one_that_comes_late_is_waited_for(self, own: FakeSource) -> None:
        late, own.now = own.now, SourceUnavailable("own: not yet")
        threading.Timer(0.1, lambda: setattr(own, "now", late)).start()
        with Mesh.from_sources([own], service="payments") as mesh:
            assert mesh.snapshot.credentials is not None

    def test_one_that_delivers_nothing_is_named(self) -> None:
        with pytest.raises(SourceUnavailable, match=r"^stream has not delivered any state$"):
            Mesh.from_sources([FakeStream()], timeout=0.1)

    @pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan")])
    def test_each_source_is_read_once_whatever_the_timeout(
        self, own: FakeSource, timeout: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Slow(FakeSource):
            def read(self) -> State:
                time.sleep(0.1)
                return super().read()

        monkeypatch.setattr("meshid.sources.refresher.TICK_SECONDS", 10.0)
        with Mesh.from_sources([own, Slow("slow", State())], service="payments", timeout=timeout) as mesh:
            assert mesh.health().ready
        wrong = FakeSource("wrong", SourceUnavailable("wrong: not yet"))
        with pytest.raises(SourceUnavailable, match=r"^wrong: not yet$"):
            Mesh.from_sources([own, wrong], timeout=timeout)

    def test_a_state_that_cannot_be_in_force_does_not_count(self, own: FakeSource, prod_ca: CA) -> None:
        own.now = State(credentials=CA("prod.example.org").issue(OWN).svid, bundles=(prod_ca.bundle(),))
        with pytest.raises(SourceUnavailable, match=r"^own: own certificate: No path .*; add its issuer"):
            Mesh.from_sources([own], timeout=0.1)

    def test_one_that_is_not_required_may_come_later(self, own: FakeSource) -> None:
        partner = CA("partner.example")
        optional = FakeSource("partner", SourceUnavailable("partner: refused"), is_required=False)
        with Mesh.from_sources([own, optional], service="payments") as mesh:
            assert eventually(lambda: [alarm.about for alarm in mesh.health().alarms] == ["partner"])
            optional.now = State(bundles=(partner.bundle(),))
            assert eventually(lambda: partner.bundle().trust_domain in mesh.snapshot.bundles)
            assert mesh.health().alarms == ()


class TestParts:
    def test_an_expired_certificate_does_not_hold_up_a_revocation(
        self, own: FakeSource, prod_ca: CA, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Mesh.from_sources([own], service="payments", clock=clock) as mesh:
            before = mesh.snapshot
            late = prod_ca.issue(OWN, not_before=clock.now - HOUR, not_after=clock.now - timedelta(minutes=1))
            denial = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])
            assert isinstance(own.now, State)
            own.now = attrs.evolve(own.now, credentials=late.svid, revocations=denial)
            assert eventually(lambda: mesh.snapshot.revocations == denial)
            assert mesh.snapshot.credentials is before.credentials
            assert eventually(lambda: alarms(caplog))
            time.sleep(0.1)
            (alarm,) = alarms(caplog)
            assert alarm.startswith("own: own certificate: valid from ")

    def test_what_is_absent_is_removed(self, own: FakeSource) -> None:
        with Mesh.from_sources([own], service="payments") as mesh:
            own.now = State(policy=policy())
            assert eventually(lambda: mesh.snapshot.credentials is None)
            assert mesh.snapshot.bundles == BundleSet()

    def test_what_no_source_has_is_left_to_the_caller(self, prod_ca: CA) -> None:
        source = FakeSource("trust", State(bundles=(prod_ca.bundle(),)))
        with Mesh.from_sources([source], service="payments") as mesh:
            mesh.publish(policy=CLOSED_POLICY)
            both = CA("prod.example.org")
            source.now = State(bundles=(both.bundle(),))
            assert eventually(lambda: mesh.snapshot.bundles == BundleSet([both.bundle()]))
            assert mesh.snapshot.policy is CLOSED_POLICY

    def test_what_any_source_revokes_is_revoked(self, own: FakeSource, prod_ca: CA) -> None:
        crl = prod_ca.crl()
        lists = FakeSource("lists", State(revocations=Revocations(crls=[crl], grace=60)))
        denied = FakeSource("denied", State(revocations=Revocations(deny=["spiffe://prod.example.org/x"])))
        with Mesh.from_sources([own, lists, denied], service="payments") as mesh:
            together = Revocations(crls=[crl], deny=[Denial(peer="spiffe://prod.example.org/x")], grace=60)
            assert mesh.snapshot.revocations == together

    @pytest.mark.parametrize("what", ["our own certificate", "the policy", "the bundle of prod.example.org"])
    def test_two_sources_of_one_thing_are_an_error(self, own: FakeSource, what: str) -> None:
        assert isinstance(own.now, State)
        part = {"our own certificate": "credentials", "the policy": "policy"}.get(what, "bundles")
        other = FakeSource("other", State(**{part: getattr(own.now, part)}))
        with pytest.raises(SourceUnavailable) as caught:
            Mesh.from_sources([own, other], timeout=0.1)
        wrong = f"own and other: {what} comes from own and from other: remove one of them"
        assert str(caught.value) == wrong

    def test_a_list_that_goes_back_is_refused(self, own: FakeSource, prod_ca: CA, clock: Clock) -> None:
        new, old = (prod_ca.crl(last_update=clock.now - age) for age in (HOUR, 2 * HOUR))
        lists = FakeSource("lists", State(revocations=Revocations(crls=[new])))
        with Mesh.from_sources([own, lists], service="payments", clock=clock) as mesh:
            before = mesh.snapshot
            lists.now = State(revocations=Revocations(crls=[old]))
            assert eventually(lambda: {alarm.about for alarm in mesh.health().alarms} == {"lists"})
            assert mesh.snapshot is before

    def test_one_that_cannot_be_used_and_comes_later_keeps_nobody_out(
        self, own: FakeSource, prod_ca: CA
    ) -> None:
        """Also where nothing at all was revoked before."""
        lists = FakeSource("lists", State())
        with Mesh.from_sources([own, lists], service="payments") as mesh:
            unusable = Undetermined("a.pem: it is no revocation list", None)
            lists.now = State(revocations=Revocations(undetermined=[unusable]))
            text = "lists: a.pem: it is no revocation list; what was in force stays"
            assert eventually(lambda: [str(alarm) for alarm in mesh.health().alarms] == [text])
            mesh.admit(prod_ca.issue(PATH).chain)
        with Mesh.from_sources([own, lists], service="payments") as mesh:
            with pytest.raises(PeerRejected) as caught:
                mesh.admit(prod_ca.issue(PATH).chain)
            assert caught.value.reason is Reason.REVOCATION_UNDETERMINED

    def test_a_list_that_is_gone_is_in_force_again_when_the_clock_is_right_again(
        self, own: FakeSource, prod_ca: CA, clock: Clock
    ) -> None:
        peer = prod_ca.issue(PATH, not_before=clock.now - HOUR, not_after=clock.now + 9 * HOUR)
        lists = State(revocations=Revocations(crls=[prod_ca.crl(peer, next_update=clock.now + HOUR)]))
        source = FakeSource("lists", lists)
        with Mesh.from_sources([own, source], service="payments", clock=clock) as mesh:
            source.now = State()
            assert eventually(lambda: "stays in force until" in str(mesh.health().alarms))
            # It lets go, as it must when the list has really ended.
            clock.now += 2 * HOUR
            assert eventually(lambda: mesh.snapshot.revocations == Revocations())
            clock.now -= 2 * HOUR
            assert eventually(lambda: mesh.snapshot.revocations == lists.revocations)
            with pytest.raises(PeerRejected) as caught:
                mesh.admit(peer.chain)
            assert caught.value.reason is Reason.REVOKED
            # Also if the list is still in force because its end could not be published.
            clock.now += 2 * HOUR
            with pytest.MonkeyPatch.context() as broken:
                broken.setattr(Admission, "put_in_force", lambda *_: 1 / 0)
                assert eventually(lambda: "ZeroDivisionError" in str(mesh.health().alarms))
                clock.now -= 2 * HOUR
                assert eventually(lambda: "stays in force until" in str(mesh.health().alarms))
            assert mesh.snapshot.revocations == lists.revocations


class TestRefreshing:
    def test_a_source_that_fails_in_a_way_of_its_own_is_asked_again(
        self, own: FakeSource, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Mesh.from_sources([own], service="payments") as mesh:
            good, own.now = own.now, ZeroDivisionError("by zero\n")
            assert eventually(lambda: alarms(caplog))
            assert alarms(caplog) == [
                "own: ZeroDivisionError: 'by zero\\n'; the last good state stays in force"
            ]
            own.now = good
            assert eventually(lambda: mesh.health().alarms == ())

    def test_what_a_source_warns_of_is_an_alarm(self, own: FakeSource) -> None:
        assert isinstance(own.now, State)
        own.now = attrs.evolve(own.now, warnings=("it is mounted as a single file",))
        with Mesh.from_sources([own], service="payments") as mesh:
            assert [str(alarm) for alarm in mesh.health().alarms] == ["own: it is mounted as a single file"]

    def test_unchanged_content_is_not_read_into_a_new_state(self, own: FakeSource) -> None:
        with Mesh.from_sources([own], service="payments") as mesh:
            before, reads = mesh.snapshot, own.reads
            assert isinstance(own.now, State)
            own.now = attrs.evolve(own.now)
            assert eventually(lambda: own.reads > reads + 2)
            assert mesh.snapshot is before

    def test_a_refresh_reads_now(self, own: FakeSource, prod_ca: CA, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(FakeSource, "pause", lambda _: 60.0)
        with Mesh.from_sources([own], service="payments") as mesh:
            renewed = prod_ca.issue(OWN).svid
            assert isinstance(own.now, State)
            own.now = attrs.evolve(own.now, credentials=renewed)
            assert mesh.refresh().credentials == renewed
            own.now = SourceUnavailable("own: gone")
            with pytest.raises(SourceUnavailable, match=r"^own: gone$"):
                mesh.refresh()
            assert mesh.snapshot.credentials == renewed

    def test_a_mesh_without_sources_has_nothing_to_refresh(self) -> None:
        with Mesh() as mesh:
            assert mesh.refresh() is mesh.snapshot

    def test_a_stream_delivers_when_it_has_something_new(self, own: FakeSource, prod_ca: CA) -> None:
        assert isinstance(own.now, State)
        stream = FakeStream(own.now)
        with Mesh.from_sources([stream], service="payments") as mesh:
            before = mesh.snapshot
            assert mesh.refresh() is before
            renewed = prod_ca.issue(OWN).svid
            stream.news.put(attrs.evolve(own.now, credentials=renewed))
            assert eventually(lambda: mesh.snapshot.credentials == renewed)

    def test_a_mesh_that_is_forgotten_stops(self, own: FakeSource) -> None:
        mesh = Mesh.from_sources([own], service="payments")
        assert mesh.snapshot.credentials is not None
        forgotten = weakref.ref(mesh)
        threads = {thread for thread in threading.enumerate() if thread.name == "meshid-refresh"}
        assert len(threads) == 2
        del mesh

        def is_gone() -> bool:
            gc.collect()
            return forgotten() is None and own.is_closed

        assert eventually(is_gone)
        assert eventually(lambda: not any(thread.is_alive() for thread in threads))

    def test_one_of_which_a_context_is_left_does_not(self, own: FakeSource, prod_ca: CA) -> None:
        peer, denial = prod_ca.issue(PATH), Revocations(deny=[f"spiffe://prod.example.org{PATH}"])
        contexts = [Mesh.from_sources([own], service="payments").server_context()]
        gc.collect()
        with asyncio_server(contexts[0]) as service:
            assert knock(service.port, stranger(peer)).answer
            assert isinstance(own.now, State)
            own.now = attrs.evolve(own.now, revocations=denial)
            assert eventually(lambda: not knock(service.port, stranger(peer)).answer)
        # What was raised in a connection that was still open has the context in its traceback.
        service.raised = queue.SimpleQueue()
        contexts.clear()
        assert eventually(lambda: gc.collect() >= 0 and own.is_closed)

    def test_a_thread_ends_if_its_mesh_is_gone_before_it_is_stopped(self) -> None:
        # The garbage collector runs between the two only by chance.
        refresher._keep_doing(lambda: None, queue.SimpleQueue(), ())  # noqa: SLF001

    def test_it_can_be_closed_from_a_thread_of_its_own(
        self, own: FakeSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mesh = Mesh.from_sources([own], service="payments")
        closed = threading.Event()

        def read_and_close(source: FakeSource) -> State:
            mesh.close()
            closed.set()
            raise SourceUnavailable(source.name)

        monkeypatch.setattr(FakeSource, "read", read_and_close)
        assert closed.wait(10)
        mesh.close()
        assert own.is_closed

    def test_what_is_read_after_the_end_changes_nothing(
        self, own: FakeSource, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mesh = Mesh.from_sources([own], service="payments")
        before, first = mesh.snapshot, own.read()
        reading, over = threading.Event(), threading.Event()

        def read_for_long(_: FakeSource) -> State:
            reading.set()
            over.wait(10)
            return attrs.evolve(first, credentials=prod_ca.issue(OWN).svid)

        monkeypatch.setattr(FakeSource, "read", read_for_long)
        assert reading.wait(10)
        mesh.close()
        threads = [thread for thread in threading.enumerate() if thread.name == "meshid-refresh"]
        over.set()
        for thread in threads:
            thread.join(10)
        assert mesh.snapshot is before

    def test_a_forked_child_reads_with_threads_of_its_own(self, own: FakeSource, prod_ca: CA) -> None:
        admission = Admission({}, service="payments")
        refresher = Refresher(admission, [own])
        refresher.start(10.0)
        # A child has no thread that reads.
        (reader,), (reading, _) = refresher._readers, refresher._threads  # noqa: SLF001 - what a child lacks
        reader.inbox.put(None)
        reading.join(10)
        renewed = prod_ca.issue(OWN).svid
        assert isinstance(own.now, State)
        own.now = attrs.evolve(own.now, credentials=renewed)
        restart_all()
        assert eventually(lambda: admission.snapshot.credentials == renewed)
        refresher.close()

    def test_one_that_was_closed_stays_closed_in_a_forked_child(self, own: FakeSource) -> None:
        refresher = Refresher(Admission({}, service="payments"), [own])
        refresher.close()
        restart_all()
        assert not refresher.is_open
        threads = [*refresher._threads, refresher._telling.thread]  # noqa: SLF001 - all that it has
        assert not any(thread.is_alive() for thread in threads)


class TestEachSecond:
    def test_a_bug_of_ours_ends_no_thread(
        self, own: FakeSource, prod_ca: CA, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with Mesh.from_sources([own], service="payments") as mesh:
            with monkeypatch.context() as broken:
                for method in ("sweep", "accept"):
                    broken.setattr(Refresher, method, lambda *_: 1 / 0)
                assert eventually(lambda: len(alarms(caplog)) > 3)
            assert set(alarms(caplog)) == {
                "a bug in meshid, please report it; meshid tries again in a moment"
            }
            renewed = prod_ca.issue(OWN).svid
            assert isinstance(own.now, State)
            own.now = attrs.evolve(own.now, credentials=renewed)
            assert eventually(lambda: mesh.snapshot.credentials == renewed)

    def test_a_connection_ends_with_its_peers_certificate(
        self, own: FakeSource, prod_ca: CA, clock: Clock
    ) -> None:
        peer = prod_ca.issue(PATH, not_before=clock.now - HOUR, not_after=clock.now + HOUR)
        reasons: list[Reason] = []
        with (
            Mesh.from_sources(
                [own],
                service="payments",
                clock=clock,
                on_revoked=lambda _, rejection, __: reasons.append(rejection.reason),
            ) as mesh,
            asyncio_server(mesh.server_context()) as service,
        ):
            assert knock(service.port, stranger(peer)).answer != b""
            with (
                socket.create_connection(("127.0.0.1", service.port)) as plain,
                stranger(peer).wrap_socket(plain) as tls,
            ):
                tls.sendall(b"hello\n")
                assert tls.recv(100)
                time.sleep(0.1)
                assert reasons == []
                clock.now += HOUR + timedelta(seconds=1)
                assert tls.recv(100) == b""
                assert eventually(lambda: reasons == [Reason.EXPIRED])

    def test_one_that_may_stay_is_reviewed_under_the_new_state(
        self, own: FakeSource, prod_ca: CA, clock: Clock
    ) -> None:
        """Its time was that of a revocation list, and a later list has come."""

        def lists(hours: int) -> State:
            crl = prod_ca.crl(last_update=clock.now, next_update=clock.now + hours * HOUR)
            return State(revocations=Revocations(crls=[crl]))

        source = FakeSource("lists", lists(1))
        with (
            Mesh.from_sources([own, source], service="payments", clock=clock) as mesh,
            asyncio_server(mesh.server_context()) as service,
        ):
            context = stranger(prod_ca.issue(PATH, not_after=clock.now + 10 * HOUR))
            with (
                socket.create_connection(("127.0.0.1", service.port)) as plain,
                context.wrap_socket(plain) as tls,
            ):
                tls.sendall(b"hello\n")
                assert tls.recv(100)

                def end() -> datetime:
                    (entry,) = admission_of(mesh).connections.now()
                    return peer_of(entry.connection()).not_after

                assert end() == clock.now + HOUR
                clock.now += timedelta(minutes=1)
                source.now = lists(2)
                assert eventually(lambda: end() == clock.now + 2 * HOUR)


FORKING = """
import os, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from meshid import Mesh
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource, FakeStream
from tests.helpers.mounted import Mounted, eventually

def refreshes(mesh, mounted):
    issued = mounted.renew()
    return eventually(lambda: mesh.snapshot.credentials == issued.svid, 8)

if __name__ == "__main__":
    mounted = Mounted(Path(sys.argv[1]), CA("prod.example.org"))
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        child = os.fork()
        if child == 0:
            os._exit(0 if refreshes(mesh, mounted) else 1)
        status = os.waitpid(child, 0)[1]
        sys.exit(status or not refreshes(mesh, mounted))
"""

SPAWNING = """
import multiprocessing, sys
from pathlib import Path
sys.path[:0] = {path!r}
from meshid import Mesh
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource, FakeStream
from tests.helpers.mounted import Mounted, eventually
from tests.sources.test_refresher import work

if __name__ == "__main__":
    mounted = Mounted(Path(sys.argv[1]), CA("prod.example.org"))
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        worker = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],))
        worker.start()
        worker.join(60)
        sys.exit(worker.exitcode)
"""


def work(root: str) -> None:
    """Do what a spawned worker does: read the same files for itself."""
    with Mesh.from_sources(sources_in(Path(root)), service="payments") as mesh:
        assert mesh.health().ready


@pytest.mark.slow
@pytest.mark.parametrize("script", [FORKING, SPAWNING], ids=["fork", "spawn"])
def test_workers_refresh_for_themselves(script: str, tmp_path: Path) -> None:
    ends_well(script.format(path=sys.path), str(tmp_path))
