"""The drill: real files change in every way, right and wrong, under a server that is visited all the time."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest

from meshid import Mesh, PeerRejected, Reason
from meshid.certificates.reading import to_der
from meshid.sources import SourceUnavailable
from meshid.testing import CA, Issued
from tests.helpers.mounted import NOTHING_DENIED, OWN, Mounted, alarms, eventually, hurry
from tests.helpers.tls_peers import PATH, POLICY, Visit, asyncio_server, knock, stranger
from tests.helpers.volumes import pair
from tests.helpers.world import DAY, HOUR, Clock

SWAPS = 1_000


@pytest.fixture
def mounted(tmp_path: Path, prod_ca: CA) -> Mounted:
    return Mounted(tmp_path, prod_ca)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "meshid.refresh")


class Visitor:
    """A client that connects all the time, and keeps what it saw."""

    def __init__(self, port: int, client: Issued) -> None:
        self.visits: list[Visit] = []
        self._port, self._context = port, stranger(client)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def _go_on(self) -> None:
        while not self._over.is_set():
            self.visits.append(knock(self._port, self._context))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def failed(self) -> list[Visit]:
        return [visit for visit in self.visits if not visit.answer.startswith(b"spiffe://")]


@contextlib.contextmanager
def drilled(mounted: Mounted) -> Iterator[tuple[Mesh, Visitor]]:
    """A server that reads the files, and a visitor."""
    with (
        Mesh.from_sources(mounted.sources(), service="payments") as mesh,
        asyncio_server(mesh.server_context()) as service,
        Visitor(service.port, mounted.ca.issue(PATH)) as visitor,
    ):
        yield mesh, visitor


@pytest.mark.slow
def test_a_thousand_swaps_tear_nothing_and_refuse_nobody(
    mounted: Mounted, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    issued = [mounted.ca.issue(OWN) for _ in range(20)]
    with drilled(mounted) as (mesh, visitor):
        for number in range(SWAPS):
            mounted.secret.swap(pair(issued[number % len(issued)]))
            time.sleep(0.004)
        last = to_der(issued[-1].certificate)
        assert eventually(lambda: visitor.visits[-1].presented == last)
        assert mesh.snapshot.generation > 20
    assert visitor.failed == []
    assert {visit.presented for visit in visitor.visits} > {each.chain[0] for each in issued}
    assert alarms(caplog) == []


def test_a_writer_that_rewrites_files_in_place_is_waited_for(
    tmp_path: Path, prod_ca: CA, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As spiffe-helper and certbot do: first one file, and after a while the other."""
    hurry(monkeypatch)
    mounted = Mounted(tmp_path, prod_ca)
    shutil.rmtree(mounted.secret.path)
    mounted.secret.path.mkdir()

    def rewrite(pause: float) -> Issued:
        issued = prod_ca.issue(OWN)
        for name, content in pair(issued).items():
            with (mounted.secret.path / name).open("wb") as file:
                for start in range(0, len(content), 300):
                    file.write(content[start : start + 300])
                    file.flush()
                    time.sleep(pause / 10)
            time.sleep(pause)
        return issued

    rewrite(0)
    with drilled(mounted) as (mesh, visitor):
        for _ in range(20):
            issued = rewrite(0.02)
            assert eventually(lambda: mesh.snapshot.credentials == issued.svid)  # noqa: B023 - it ends at once
    assert visitor.failed == []
    assert alarms(caplog) == []


def write(path: str, content: Callable[[Mounted], bytes | str]) -> Callable[[Mounted], None]:
    def broken(mounted: Mounted) -> None:
        data = content(mounted)
        target = getattr(mounted, path)
        put(target, data if isinstance(data, bytes) else data.encode())

    return broken


def put(path: Path, data: bytes) -> None:
    """Replace a file at one instant, so that nobody reads half of it."""
    path.with_suffix(".new").write_bytes(data)
    path.with_suffix(".new").replace(path)


def swap(files: Callable[[Mounted], dict[str, bytes]]) -> Callable[[Mounted], None]:
    return lambda mounted: mounted.secret.swap(files(mounted))


def expired(mounted: Mounted) -> dict[str, bytes]:
    ends = mounted.ca.certificate.not_valid_before_utc + timedelta(seconds=30)
    return pair(mounted.ca.issue(OWN, not_before=ends - HOUR, not_after=ends))


def unreadable(mounted: Mounted) -> None:
    """Root may read every file but this."""
    mounted.trust.unlink()
    mounted.trust.symlink_to("/proc/self/mem")


BAD_UPDATES: dict[str, tuple[Callable[[Mounted], None], str]] = {
    "another key": (
        swap(lambda mounted: pair(mounted.ca.issue(OWN)) | {"tls.key": mounted.ca.issue(OWN).key_pem}),
        "/tls': own certificate: the private key is not that of the first certificate",
    ),
    "a truncated certificate": (
        swap(
            lambda mounted: pair(mounted.ca.issue(OWN)) | {"tls.crt": mounted.ca.issue(OWN).chain_pem[:200]}
        ),
        "/tls': own certificate: ",
    ),
    "an expired certificate": (swap(expired), "/tls': own certificate: valid from "),
    "a certificate of another authority": (
        swap(lambda _: pair(CA("prod.example.org").issue(OWN))),
        "/tls': own certificate: No path leads from the leaf to an authority of its ",
    ),
    "a certificate of another environment": (
        swap(lambda _: pair(CA("dev.example.org").issue(OWN))),
        "/tls': own certificate is spiffe://dev.example.org/ns/pay/sa/payments, and the policy is for",
    ),
    "no key": (
        swap(lambda mounted: {"tls.crt": mounted.ca.issue(OWN).chain_pem}),
        "/tls/tls.key' cannot be read",
    ),
    "an empty bundle": (write("trust", lambda _: ""), "/ca.pem': '"),
    "a bundle cut off": (
        write("trust", lambda _: "-----BEGIN CERT"),
        "/ca.pem': bundle of prod.example.org: ",
    ),
    "a policy with a typo": (
        write("policy", lambda _: POLICY.replace("from =", "form =", 1)),
        "/policy.toml': allow[0].form: is unknown; did you mean 'from'?",
    ),
    "a policy of another environment": (
        write("policy", lambda _: POLICY.replace('["prod.example.org"]', '["other.example.org"]')),
        "/policy.toml': environments.prod.trust_domains: own certificate is spiffe://prod.example.org/",
    ),
    "a deny list with a typo": (
        write("deny", lambda _: "version = 1\n[[deny]]\npeers = 'x'\n"),
        "/deny.toml': deny[0].peers: is unknown; did you mean 'peer'?",
    ),
    "the directory is gone": (
        lambda mounted: shutil.rmtree(mounted.secret.path.rename(mounted.root / "gone")),
        "/tls' cannot be read: No such file",
    ),
    "a file that cannot be read": (unreadable, "/ca.pem' cannot be read: Input/output error"),
}


@pytest.mark.parametrize(("spoil", "expected"), BAD_UPDATES.values(), ids=BAD_UPDATES)
def test_a_bad_update_is_one_alarm_and_changes_nothing(
    mounted: Mounted,
    spoil: Callable[[Mounted], None],
    expected: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry(monkeypatch)
    with drilled(mounted) as (mesh, visitor):
        before = mesh.snapshot
        spoil(mounted)
        assert eventually(lambda: alarms(caplog))
        time.sleep(0.3)
        assert mesh.snapshot is before
        (alarm,) = alarms(caplog)
        assert expected in alarm
        assert alarm.endswith("; the last good state stays in force")
        (current,) = mesh.health().alarms
        assert alarm.startswith(f"{current.about}: ")
        assert mesh.health().ready
        with pytest.raises(SourceUnavailable) as caught:
            mesh.refresh()
        assert expected in str(caught.value)

        repaired = repair(mounted)
        assert eventually(lambda: mesh.snapshot.credentials == repaired.svid)
        assert eventually(lambda: mesh.health().alarms == ())
        assert eventually(lambda: visitor.visits[-1].presented == to_der(repaired.certificate))
    assert visitor.failed == []
    assert len(alarms(caplog)) == 1
    ended = [record.getMessage() for record in caplog.records if ": recovered" in record.getMessage()]
    assert [text.partition(": ")[0] for text in ended] == [alarm.partition(": ")[0]]


def repair(mounted: Mounted) -> Issued:
    if not mounted.secret.path.exists():
        whole = type(mounted.secret)(mounted.root / "whole", pair(mounted.ca.issue(OWN)))
        whole.path.rename(mounted.secret.path)
    put(mounted.trust, mounted.ca.pem)
    put(mounted.policy, POLICY.encode())
    put(mounted.deny, NOTHING_DENIED.encode())
    return mounted.renew()


def test_a_clock_that_jumps_refuses_while_it_is_wrong_and_no_longer(
    mounted: Mounted, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    with Mesh.from_sources(mounted.sources(), service="payments", clock=clock) as mesh:
        context = stranger(mounted.ca.issue(PATH))
        with asyncio_server(mesh.server_context()) as service:
            right = clock.now
            for wrong, expected in ((right + 400 * DAY, "ended at"), (right - 400 * DAY, "begins at")):
                clock.now = wrong
                assert knock(service.port, context).answer == b""
                assert not mesh.health().ready
                alarm = f"own certificate: {expected}"
                assert eventually(lambda: any(text.startswith(alarm) for text in alarms(caplog)))  # noqa: B023 - it ends at once
                clock.now = right
                assert knock(service.port, context).answer != b""
                assert mesh.health().ready
        # A good state that comes while the clock is wrong is put in force as soon as it is right again.
        clock.now = right + 400 * DAY
        issued = mounted.renew()
        assert eventually(lambda: any("valid from" in alarm for alarm in alarms(caplog)))
        clock.now = right
        assert eventually(lambda: mesh.snapshot.credentials == issued.svid)


def test_an_authority_that_is_replaced_under_an_open_connection(
    mounted: Mounted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trust and credentials are two sources: whichever is read first waits for the other."""
    hurry(monkeypatch)
    successor = CA("prod.example.org")
    with drilled(mounted) as (mesh, visitor):
        renewed = successor.issue(OWN)
        mounted.secret.swap(pair(renewed))
        time.sleep(0.1)
        assert mesh.snapshot.credentials != renewed.svid
        mounted.trust.write_bytes(mounted.ca.pem + successor.pem)
        assert eventually(lambda: mesh.snapshot.credentials == renewed.svid)
        assert eventually(lambda: visitor.visits[-1].presented == to_der(renewed.certificate))
        assert visitor.failed == []
        mounted.trust.write_bytes(successor.pem)
        assert eventually(lambda: visitor.failed)
        assert mesh.check(mesh.admit(successor.issue(PATH).chain))
        with pytest.raises(PeerRejected) as caught:
            mesh.admit(mounted.ca.issue(PATH).chain)
        assert caught.value.reason is Reason.UNKNOWN_AUTHORITY
