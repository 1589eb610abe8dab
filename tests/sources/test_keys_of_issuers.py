"""A mesh has the keys of the issuers of its policy: nobody waits for them, and they stop to count in time."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from meshid import BundleSet, Denial, Mesh, Policy, Revocations
from meshid.admission.admission import Admission
from meshid.admission.ended import Ended
from meshid.admission.open_connections import OpenConnection
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.policy.issuers import Issuer
from meshid.sources import SourceUnavailable, State
from meshid.sources.refresher import Refresher, restart_all
from meshid.sources.token_keys.issuer_readers import Following, IssuerReader, IssuerReaders
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.endpoints import bounded
from tests.helpers.fake_sources import FakeSource
from tests.helpers.issuers import OKTA, issuer_of, policy_with
from tests.helpers.mounted import alarms, eventually
from tests.helpers.oidc_provider import KEYS, OidcProvider, dripping, hanging, keys, oidc_provider, status
from tests.helpers.tls_peers import TIMEOUT, admission_of, asyncio_server, policy, stranger
from tests.helpers.world import Clock
from tests.sources.test_removal import line

pytestmark = pytest.mark.usefixtures("hurried")

ABOUT = "keys of issuer 'okta'"


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "meshid.refresh")


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def okta(provider: OidcProvider, tmp_path: Path) -> Issuer:
    return issuer_of(provider, tmp_path, jwks=provider.keys_url, max_stale=3600)


def now_in(own: FakeSource) -> State:
    assert isinstance(own.now, State)
    return own.now


def change(own: FakeSource, **parts: object) -> None:
    own.now = attrs.evolve(now_in(own), **parts)  # type: ignore[arg-type]


@pytest.fixture
def mesh(own: FakeSource, okta: Issuer, clock: Clock) -> Iterator[Mesh]:
    """A mesh whose policy has one issuer, with its keys in force."""
    change(own, policy=policy_with(okta))
    with Mesh.from_sources([own], service="payments", clock=clock) as mesh:
        assert eventually(lambda: OKTA in mesh.snapshot.keys)
        yield mesh


def ids(mesh: Mesh) -> list[str | None]:
    return [key.key_id for key in mesh.snapshot.keys.get(OKTA, KeySet(issuer=OKTA)).keys]


def found(mesh: Mesh) -> list[Alarm]:
    return [alarm for alarm in mesh.health().alarms if alarm.about.startswith(ABOUT)]


def about(mesh: Mesh) -> list[str]:
    return [*map(str, found(mesh))]


def events(caplog: pytest.LogCaptureFixture) -> dict[str, dict[str, object]]:
    """Return the event of each line, also of those before the test."""
    records = [*caplog.get_records("setup"), *caplog.records]
    return {record.getMessage(): record.__dict__["meshid"].as_dict() for record in records}


class TestCurrent:
    def test_they_arrive_and_are_told(self, mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
        assert ids(mesh) == ["key-1"]
        assert eventually(lambda: "generation 2: new keys" in events(caplog))
        event = events(caplog)["generation 2: new keys"]
        assert event["meshid.sources"] == [mesh.sources()[1].name]
        (key,) = mesh.snapshot.keys[OKTA].keys
        assert event["meshid.keys.added"] == [f"'okta' {key.thumbprint} 'key-1'"]
        assert about(mesh) == []

    def test_a_rotation_with_overlap_leaves_no_gap(self, mesh: Mesh, provider: OidcProvider) -> None:
        (first,) = provider.tokens.keys
        before = set(mesh.snapshot.keys[OKTA].keys)
        provider.rotate()
        mesh.refresh()
        assert ids(mesh) == ["key-1", "key-2"]
        assert before < set(mesh.snapshot.keys[OKTA].keys)
        provider.withdraw(first)
        mesh.refresh()
        assert ids(mesh) == ["key-2"]

    def test_a_withdrawn_key_stops_at_the_next_refresh(self, mesh: Mesh, provider: OidcProvider) -> None:
        provider.withdraw(*provider.tokens.keys)
        mesh.refresh()
        assert ids(mesh) == []
        refused, warned = about(mesh)
        assert refused.startswith(f"{ABOUT}: none of them can be used: look at its key set")
        assert warned.endswith(": no key in the set can be used, so it verifies no token")

    def test_the_same_keys_are_no_news_and_disturb_nobody(
        self,
        mesh: Mesh,
        clock: Clock,
        prod_ca: CA,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        assert eventually(lambda: "generation 2: new keys" in events(caplog))
        caplog.clear()
        reviewed: list[OpenConnection] = []
        review = Admission._review  # noqa: SLF001 - a review that lets a peer stay leaves no trace

        def watching(self: Admission, entries: Iterable[OpenConnection], now: float | None) -> Ended:
            reviewed.extend(entries := list(entries))
            return review(self, entries, now)

        monkeypatch.setattr(Admission, "_review", watching)
        with (
            asyncio_server(mesh.server_context()) as service,
            line(service.port, stranger(prod_ca.issue("/ns/shop/sa/web"))) as tls,
        ):
            assert eventually(lambda: mesh.open_connections == 1)
            before = mesh.snapshot
            clock.now += timedelta(minutes=10)
            mesh.refresh()
            after = mesh.snapshot
            assert after.keys[OKTA].serve_until == before.keys[OKTA].serve_until + 600
            assert after.generation == before.generation
            assert reviewed == []
            tls.sendall(b"still here\n")
            assert tls.recv(1024)
        assert caplog.messages == []

    def test_a_thousand_unknown_key_ids_cause_one_fetch(self, mesh: Mesh, provider: OidcProvider) -> None:
        assert provider.fetches == 1
        start = threading.Barrier(8)

        def want() -> None:
            start.wait(TIMEOUT)
            for _ in range(125):
                admission_of(mesh).wants_keys(OKTA)

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(want) for _ in range(8)]:
                done.result(TIMEOUT)
        assert eventually(lambda: provider.fetches == 2)
        # Whatever they had asked for, this one comes after it.
        mesh.refresh()
        assert provider.fetches == 3

    def test_fetches_that_fail_count_too(self, mesh: Mesh, provider: OidcProvider) -> None:
        provider.answers[KEYS] = status("503 Service Unavailable")
        for _ in range(1000):
            admission_of(mesh).wants_keys(OKTA)
        assert eventually(lambda: about(mesh))
        for _ in range(1000):
            admission_of(mesh).wants_keys(OKTA)
        with pytest.raises(SourceUnavailable, match="503"):
            mesh.refresh()
        assert provider.fetches == 3
        assert ids(mesh) == ["key-1"]


class TestOutage:
    def test_known_keys_count_until_the_limit_and_no_longer(
        self, mesh: Mesh, provider: OidcProvider, clock: Clock
    ) -> None:
        """Its provider is down for an hour."""
        end = clock() + 3600
        provider.is_down = True
        clock.now += timedelta(minutes=30)
        with pytest.raises(SourceUnavailable, match="reset by peer"):
            mesh.refresh()
        assert mesh.snapshot.keys[OKTA].serve_until == end
        assert eventually(lambda: about(mesh))
        (failing,) = found(mesh)
        assert failing.level is AlarmLevel.WARNING
        assert "Connection reset by peer" in failing.text
        assert mesh.health().ready
        clock.now += timedelta(minutes=30, seconds=1)
        stale, failing = found(mesh)
        assert (stale.about, stale.level, stale.is_outage) == (ABOUT, AlarmLevel.ERROR, False)
        assert stale.text.startswith("they could not be read again, and count no more since ")
        assert failing.level is AlarmLevel.WARNING
        provider.is_down = False
        mesh.refresh()
        assert mesh.snapshot.keys[OKTA].serve_until == clock() + 3600
        assert about(mesh) == []

    @pytest.mark.parametrize(
        "answer",
        [keys(b"<html>"), keys(b'{"keys": 1}'), status("200 OK"), status("404 Not Found")],
        ids=["html", "no list", "no keys", "gone"],
    )
    def test_garbage_keeps_the_last_good_set(
        self,
        mesh: Mesh,
        provider: OidcProvider,
        answer: Callable[[object], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        before = mesh.snapshot.keys
        provider.answers[KEYS] = answer
        with pytest.raises(SourceUnavailable):
            mesh.refresh()
        assert mesh.snapshot.keys is before
        assert eventually(lambda: len(about(mesh)) == 1)
        assert eventually(lambda: alarms(caplog))
        (logged,) = alarms(caplog)
        assert logged.startswith(ABOUT)
        assert logged.endswith("; the last good state stays in force")
        del provider.answers[KEYS]
        mesh.refresh()
        assert eventually(lambda: f"{mesh.sources()[1].name}: recovered" in caplog.messages)

    @pytest.mark.parametrize("stalls", [hanging, dripping], ids=["hanging", "dripping"])
    def test_one_that_stalls_holds_up_nothing(
        self,
        own: FakeSource,
        okta: Issuer,
        provider: OidcProvider,
        stalls: Callable[[object], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        provider.answers[KEYS] = stalls
        change(own, policy=policy_with(okta))
        with bounded(5), Mesh.from_sources([own], service="payments") as mesh:
            assert provider.arrived.wait(TIMEOUT)
            (alarm,) = mesh.health().alarms
            assert (alarm.about, alarm.level) == (ABOUT, AlarmLevel.ERROR)
            assert mesh.health().ready
            newer = policy_with(attrs.evolve(okta, audience=("other",)))
            denied = Revocations(deny=[Denial(peer="spiffe://prod.example.org/ns/shop/**")])
            change(own, policy=newer, revocations=denied, bundles=())
            assert eventually(lambda: mesh.snapshot.policy == newer)
            assert eventually(lambda: mesh.snapshot.revocations == denied)
            assert eventually(lambda: mesh.snapshot.bundles == BundleSet())
            assert provider.fetches == 1
            # Its first read has not ended yet: what is not there in an instant is no line in the log.
            assert not [text for text in alarms(caplog) if text.startswith(ABOUT)]


class TestFollowing:
    """Whoever publishes a policy, the keys of its issuers are read, and those of no other count."""

    def test_an_issuer_comes_and_goes_with_the_policy(
        self, own: FakeSource, okta: Issuer, provider: OidcProvider
    ) -> None:
        with Mesh.from_sources([own], service="payments") as mesh:
            assert len(mesh.sources()) == 1
            change(own, policy=policy_with(okta))
            assert eventually(lambda: ids(mesh) == ["key-1"])
            assert [each.name for each in mesh.sources()] == ["own", f"{ABOUT} {provider.keys_url!r}"]
            change(own, policy=policy())
            assert eventually(lambda: len(mesh.sources()) == 1)
            assert mesh.snapshot.keys == KeySets()
            assert mesh.health().alarms == ()

    def test_one_that_is_published_is_followed(self, own: FakeSource, okta: Issuer) -> None:
        change(own, policy=None)
        with Mesh.from_sources([own], service="payments") as mesh:
            mesh.publish(policy=policy_with(okta))
            assert eventually(lambda: ids(mesh) == ["key-1"])
            mesh.publish(policy=policy())
            assert mesh.snapshot.keys == KeySets()
            assert eventually(lambda: len(mesh.sources()) == 1)

    def test_one_that_is_declared_in_another_way_has_no_keys_of_the_one_before_it(
        self, mesh: Mesh, own: FakeSource, okta: Issuer, provider: OidcProvider, tmp_path: Path
    ) -> None:
        with oidc_provider() as other:
            other.answers[KEYS] = hanging
            change(own, policy=policy_with(issuer_of(other, tmp_path, jwks=other.keys_url)))
            assert other.arrived.wait(TIMEOUT)
            assert mesh.snapshot.keys == KeySets()
            # What the old one still delivers counts for nothing.
            refresher = mesh._refresher  # noqa: SLF001 - as its thread would
            assert refresher is not None
            late = State(keys=(KeySet.from_json(OKTA, provider.tokens.jwks()),))
            refresher.accept(IssuerReader(okta, lambda: 0.0), late)
            assert mesh.snapshot.keys == KeySets()
            other.answers.clear()
            other.hang_up()

    def test_keys_stay_if_only_the_way_to_them_changes(
        self, mesh: Mesh, own: FakeSource, okta: Issuer, provider: OidcProvider
    ) -> None:
        provider.answers[KEYS] = hanging
        provider.arrived.clear()
        change(own, policy=policy_with(attrs.evolve(okta, max_stale=7200)))
        assert provider.arrived.wait(TIMEOUT)
        assert ids(mesh) == ["key-1"]
        del provider.answers[KEYS]
        provider.hang_up()

    def test_a_mesh_made_from_parts_has_the_keys_that_are_published(
        self, okta: Issuer, provider: OidcProvider, prod_ca: CA
    ) -> None:
        mesh = Mesh(bundles=BundleSet([prod_ca.bundle()]), policy=policy_with(okta))
        (alarm,) = about(mesh)
        assert alarm.startswith(f"{ABOUT}: there are none: publish them")
        mesh.publish(keys=KeySets([KeySet.from_json(OKTA, provider.tokens.jwks())]))
        assert about(mesh) == []
        assert provider.requests == []

    def test_keys_of_an_issuer_that_nobody_declares_count_for_nothing(self, own: FakeSource) -> None:
        change(own, keys=(KeySet.from_json("entra", TokenIssuer().jwks()),))
        with Mesh.from_sources([own], service="payments") as mesh:
            assert mesh.snapshot.keys == KeySets()
            text = "own: keys of issuer 'entra': the policy in force does not declare this issuer"
            assert eventually(lambda: any(str(each).startswith(text) for each in mesh.health().alarms))
            change(own, keys=())
            assert eventually(lambda: mesh.health().alarms == ())

    def test_keys_from_two_sources_are_an_error(self, mesh: Mesh, own: FakeSource) -> None:
        change(own, keys=(KeySet.from_json(OKTA, TokenIssuer().jwks()),))
        text = f"the {ABOUT} comes from own and from {ABOUT}"
        assert eventually(lambda: any(text in each for each in map(str, mesh.health().alarms)))
        assert ids(mesh) == ["key-1"]


class TestThreads:
    def test_a_mesh_that_is_forgotten_stops_reading_them(
        self, own: FakeSource, okta: Issuer, provider: OidcProvider
    ) -> None:
        provider.answers[KEYS] = hanging
        change(own, policy=policy_with(okta))
        mesh = Mesh.from_sources([own], service="payments")
        assert provider.arrived.wait(TIMEOUT)
        threads = {thread for thread in threading.enumerate() if thread.name == "meshid-refresh"}
        assert len(threads) == 3
        forgotten = weakref.ref(mesh)
        del mesh
        assert eventually(lambda: gc.collect() >= 0 and forgotten() is None)
        assert eventually(lambda: not any(thread.is_alive() for thread in threads))

    def test_a_forked_child_reads_them_with_threads_of_its_own(
        self, own: FakeSource, okta: Issuer, provider: OidcProvider
    ) -> None:
        change(own, policy=policy_with(okta))
        admission = Admission({}, service="payments")
        refresher = Refresher(admission, [own])
        refresher.start(10.0)
        assert eventually(lambda: OKTA in admission.snapshot.keys)
        # A child has no thread that reads.
        (reader,), threads = refresher._issuers, refresher._threads  # noqa: SLF001 - what a child lacks
        reader.inbox.put(None)
        threads[-1].join(TIMEOUT)
        provider.rotate()
        restart_all()
        assert eventually(lambda: len(admission.snapshot.keys[OKTA].keys) == 2)
        refresher.close()

    def test_without_a_thread_it_is_an_alarm_and_tried_again(
        self, own: FakeSource, okta: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with Mesh.from_sources([own], service="payments") as mesh, monkeypatch.context() as patch:

            def refuse(_: threading.Thread) -> None:
                msg = "can't start new thread"
                raise RuntimeError(msg)

            patch.setattr(threading.Thread, "start", refuse)
            changed = policy_with(okta)
            change(own, policy=changed)
            assert eventually(lambda: any("can't start new thread" in each for each in about(mesh)))
            assert mesh.snapshot.policy == changed
            patch.undo()
            assert eventually(lambda: ids(mesh) == ["key-1"])
            assert eventually(lambda: about(mesh) == [])

    def test_one_that_begins_after_the_end_ends_at_once(
        self, own: FakeSource, okta: Issuer, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider.answers[KEYS] = hanging
        mesh = Mesh.from_sources([own], service="payments")
        refresher = mesh._refresher  # noqa: SLF001 - closed by another thread, between two steps
        assert refresher is not None
        follow = IssuerReaders.follow

        def close_and_follow(readers: IssuerReaders, policy: Policy | None) -> Following | None:
            refresher.close()
            return follow(readers, policy)

        monkeypatch.setattr(IssuerReaders, "follow", close_and_follow)
        mesh.publish(policy=policy_with(okta))
        assert eventually(lambda: not any(thread.is_alive() for thread in refresher._threads))  # noqa: SLF001
        assert not refresher.is_open


def test_half_of_a_hundred_issuers_hang_and_the_others_have_their_keys(
    own: FakeSource, provider: OidcProvider, tmp_path: Path
) -> None:
    issuers = []
    for number in range(100):
        path = f"/keys-{number}"
        provider.answers[path] = hanging if number % 2 else keys(provider.tokens.jwks())
        url = f"{provider.issuer}{path}"
        issuers.append(
            issuer_of(provider, tmp_path, name=f"i{number}", issuer=f"{provider.issuer}/{number}", jwks=url)
        )
    right = {issuer.name for issuer in issuers[::2]}
    change(own, policy=policy_with(*issuers))
    with Mesh.from_sources([own], service="payments") as mesh:
        assert eventually(lambda: mesh.snapshot.keys.keys() == right)
        newer = policy_with(*issuers[:2])
        change(own, policy=newer)
        assert eventually(lambda: mesh.snapshot.policy == newer, 5)
        assert mesh.snapshot.keys.keys() == {"i0"}
        assert eventually(lambda: len(mesh.sources()) == 3)
        with bounded(5):
            mesh.close()
