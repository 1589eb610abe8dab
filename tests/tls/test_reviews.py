"""A review ends all that must end, and tells afterwards, whatever fails on the way."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from meshid import AuditEvent, Call, Mesh, PeerRejected, Reason, Revocations
from meshid.testing import CA
from meshid.tls.connections import MeshSSLObject
from tests.helpers.lines import is_ended, line, sweep
from tests.helpers.loops import EVERYWHERE
from tests.helpers.tls_peers import Heard, Memory, Parts, Serving, mesh_of, policy_that, stranger
from tests.helpers.user_code import failing, handling

PATHS = [f"/ns/shop/sa/{number}" for number in range(3)]
DENIED = Revocations(deny=["spiffe://prod.example.org/ns/shop/**"])


def connected(mesh: Mesh, ca: CA) -> list[Memory]:
    """Return three open connections."""
    every = [Memory(mesh.server_context(), stranger(ca.issue(each))) for each in PATHS]
    for both in every:
        both.shake_hands()
    return every


def reason_of(both: Memory) -> Reason:
    with pytest.raises(PeerRejected) as caught:
        both.server.read()
    return caught.value.reason


class Acts:
    """Code of the user's that raises, in this order, what it is given: nothing for None."""

    def __init__(self, *errors: type[BaseException] | None) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, *_: object) -> None:
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    def of_reviews(self, event: AuditEvent) -> None:
        if event.call is Call.REVIEW:
            self()


@pytest.mark.parametrize("serve", EVERYWHERE.values(), ids=EVERYWHERE)
class TestEveryConnectionEnds:
    def end_all(self, mesh: Mesh, serve: Serving, ca: CA, raised: type[BaseException] | None = None) -> None:
        """Open three connections, take their peers away, and see all of them end."""
        with ExitStack() as stack:
            port = stack.enter_context(serve(mesh.server_context())).port
            lines = [stack.enter_context(line(port, stranger(ca.issue(each)))) for each in PATHS]
            if raised is None:
                mesh.publish(revocations=DENIED)
            else:
                with pytest.raises(raised):
                    mesh.publish(revocations=DENIED)
            assert all(map(is_ended, lines))
        assert mesh.open_connections == 0

    def test_when_the_log_fails(self, serve: Serving, prod_ca: CA) -> None:
        with handling(failing):
            self.end_all(mesh_of(prod_ca), serve, prod_ca)

    def test_when_the_sink_and_on_revoked_fail(
        self, serve: Serving, prod_ca: CA, caplog: pytest.LogCaptureFixture
    ) -> None:
        sink, on_revoked = Acts(*[OSError] * 3), Acts(*[ValueError] * 3)
        self.end_all(mesh_of(prod_ca, audit=sink.of_reviews, on_revoked=on_revoked), serve, prod_ca)
        assert (sink.calls, on_revoked.calls) == (3, 3)
        assert caplog.text.count("on_revoked failed: ValueError: ''") == 3
        assert caplog.text.count("the decision could not be recorded: OSError: ''") == 3

    @pytest.mark.parametrize("part", ["audit", "on_revoked", "handler"])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_when_the_process_is_interrupted(
        self, part: str, error: type[BaseException], serve: Serving, prod_ca: CA
    ) -> None:
        act = Acts(error, None, GeneratorExit)
        parts: dict[str, Parts] = {"audit": {"audit": act.of_reviews}, "on_revoked": {"on_revoked": act}}
        mesh = mesh_of(prod_ca, **parts.get(part, {}))
        with handling(act if part == "handler" else Acts(), "meshid.audit"):
            self.end_all(mesh, serve, prod_ca, error)
        assert act.calls == 3, "all are told"


def test_all_have_ended_before_the_first_is_told(prod_ca: CA) -> None:
    open_then: list[int] = []

    def look(*_: object) -> None:
        open_then.append(mesh.open_connections)

    mesh = mesh_of(prod_ca, on_revoked=look)
    every = connected(mesh, prod_ca)
    mesh.publish(revocations=DENIED)
    assert open_then == [0] * len(every)


def test_a_transport_that_cannot_be_closed_stops_nobody(
    prod_ca: CA, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is read from it any more, and it is told as ended."""
    on_revoked = Acts()
    mesh = mesh_of(prod_ca, on_revoked=on_revoked)
    every = connected(mesh, prod_ca)
    monkeypatch.setattr(MeshSSLObject, "_close", Acts(ConnectionError))
    mesh.publish(revocations=DENIED)
    assert [reason_of(each) for each in every] == [Reason.DENY_LISTED] * 3
    assert on_revoked.calls == 3
    assert caplog.text.count("an open connection could not be reviewed: ConnectionError: ''") == 1


def test_one_that_a_review_did_not_reach_is_ended_by_the_sweep(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    first, *others = connected(mesh, prod_ca)
    # An interruption in the first one, and then a policy that fails, which is a refusal.
    act = Acts(KeyboardInterrupt, *[RuntimeError] * 3)
    with pytest.raises(KeyboardInterrupt):
        mesh.publish(policy=policy_that(act))
    assert [reason_of(each) for each in others] == [Reason.INTERNAL_ERROR] * 2
    assert mesh.open_connections == 1
    sweep(mesh)
    assert reason_of(first) is Reason.INTERNAL_ERROR
    assert act.calls == 4


def test_the_sweep_reviews_nobody_who_is_up_to_date(prod_ca: CA) -> None:
    act = Acts()
    mesh = mesh_of(prod_ca, policy=policy_that(act))
    every = connected(mesh, prod_ca)
    mesh.publish(revocations=Revocations(deny=["spiffe://prod.example.org/other"]))
    assert act.calls == 2 * len(every)
    sweep(mesh)
    assert act.calls == 2 * len(every)


def test_one_that_two_reviews_end_is_told_once(prod_ca: CA) -> None:
    heard = Heard()

    def remove() -> None:
        if mesh.open_connections == len(PATHS):
            mesh.publish(revocations=DENIED)

    mesh = mesh_of(prod_ca, audit=heard)
    every = connected(mesh, prod_ca)
    assert heard.of_handshakes() == [Reason.ALLOWED] * 3
    mesh.publish(policy=policy_that(remove))
    assert [reason_of(each) for each in every] == [Reason.DENY_LISTED] * 3
    assert [heard.reason() for _ in every] == [Reason.DENY_LISTED] * 3
    assert heard.is_quiet()


def test_one_that_is_being_ended_is_left_to_the_review_that_does(
    prod_ca: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_revoked = Acts()
    mesh = mesh_of(prod_ca, on_revoked=on_revoked)
    every = connected(mesh, prod_ca)
    know = MeshSSLObject.info

    def sweep_then_know(connection: MeshSSLObject) -> object:
        monkeypatch.undo()
        sweep(mesh)
        return know(connection)

    monkeypatch.setattr(MeshSSLObject, "info", sweep_then_know)
    mesh.publish(revocations=DENIED)
    assert [reason_of(each) for each in every] == [Reason.DENY_LISTED] * 3
    assert on_revoked.calls == 3
