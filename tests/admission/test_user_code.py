"""The user's code is called without a lock: it may ask the mesh anything, take its time, and fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from meshid import AuditEvent, BundleSet, Mesh, PeerRejected, Policy, Reason, Revocations, X509Svid
from meshid.admission.admission import Admission
from meshid.testing import CA
from meshid.tls.load_credentials import load_credentials
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    PATH,
    POLICY,
    TIMEOUT,
    Heard,
    Memory,
    Parts,
    credentials,
    mesh_of,
    policy,
    stranger,
)
from tests.helpers.user_code import Asking, ask_everything, failing, handling, signalled
from tests.helpers.world import Clock

NAME = f"spiffe://prod.example.org{PATH}"
DENIED = Revocations(deny=[NAME])


def refusal(call: Callable[[], object]) -> PeerRejected:
    with pytest.raises(PeerRejected) as caught:
        call()
    return caught.value


def connect(mesh: Mesh, ca: CA) -> Memory:
    both = Memory(mesh.server_context(), stranger(ca.issue(PATH)))
    both.shake_hands()
    return both


class TestItMayAskEverything:
    """From another thread, for which it waits: a lock that the caller holds would never be released."""

    @pytest.fixture
    def asking(self) -> Asking:
        return Asking()

    def ask_from(self, asking: Asking, mesh: Mesh, ca: CA) -> None:
        """Publish, and end a connection on the way, with *asking* somewhere in the mesh."""
        both = connect(mesh, ca)
        asking.peer, asking.mesh = mesh.admit(ca.issue("/ns/shop/sa/other").chain), mesh
        mesh.publish(credentials=credentials(ca), revocations=DENIED)
        with pytest.raises(PeerRejected):
            both.server.read()
        mesh.server_context()
        assert asking.asked == 1

    @pytest.mark.parametrize("part", ["audit", "on_revoked"])
    def test_a_callable(self, part: str, asking: Asking, prod_ca: CA) -> None:
        parts: Parts = {"audit": asking} if part == "audit" else {"on_revoked": asking}
        self.ask_from(asking, mesh_of(prod_ca, **parts), prod_ca)

    def test_a_clock(self, asking: Asking, clock: Clock, prod_ca: CA) -> None:
        def now() -> float:
            asking()
            return clock()

        self.ask_from(asking, mesh_of(prod_ca, clock=now), prod_ca)

    def test_a_log_handler(self, asking: Asking, prod_ca: CA) -> None:
        with handling(asking):
            self.ask_from(asking, mesh_of(prod_ca), prod_ca)

    def test_a_policy(self, asking: Asking, prod_ca: CA) -> None:
        class AskingPolicy(Policy):
            def __eq__(self, other: object) -> bool:
                asking()
                return self is other

            __hash__ = Policy.__hash__

        mesh = mesh_of(prod_ca, policy=AskingPolicy.from_toml(POLICY, "prod"))
        asking.peer, asking.mesh = mesh.admit(prod_ca.issue(PATH).chain), mesh
        mesh.publish(policy=policy())
        assert asking.asked == 1

    def test_credentials_that_begin_a_connection_of_the_same_context(self, prod_ca: CA) -> None:
        begun: list[Memory] = []

        def begin() -> None:
            begun.append(Memory(context, stranger(prod_ca.issue(PATH))))

        class AskingCredentials(X509Svid):
            def key_pem(self, *arguments: object) -> bytes:
                if is_building.pop() if is_building else False:
                    with ThreadPoolExecutor(1) as pool:
                        pool.submit(begin).result(TIMEOUT)
                return super().key_pem(*arguments)  # type: ignore[arg-type]  # passed on

        own, is_building = credentials(prod_ca), list[bool]()
        mesh = mesh_of(prod_ca)
        context = mesh.server_context()
        mesh.publish(credentials=AskingCredentials(own.leaf, own.chain, own.claim, own.key))
        is_building.append(True)
        begin()
        for both in begun:
            both.shake_hands()
        assert len(begun) == 2


class TestASignalHandlerMayAskEverything:
    """It runs in the thread that it interrupts, in the middle of what that does."""

    def test_while_a_new_state_is_checked(self, prod_ca: CA) -> None:
        """The change that was being made is made again, on top of the handler's."""
        own = [credentials(prod_ca) for _ in range(2)]
        with signalled(lambda: admission.publish({"policy": CLOSED_POLICY})) as interrupt:
            admission = Admission(
                {"credentials": own[0], "bundles": BundleSet([prod_ca.bundle()])},
                service="payments",
                try_credentials=lambda each: interrupt() if each is own[1] else None,
            )
            snapshot = admission.publish({"credentials": own[1]})
        assert snapshot is admission.snapshot
        assert (snapshot.credentials, snapshot.policy, snapshot.generation) == (own[1], CLOSED_POLICY, 3)

    @pytest.mark.parametrize("call", ["admit", "check", "publish"])
    def test_while_a_decision_is_made(self, call: str, prod_ca: CA, clock: Clock) -> None:
        mesh = mesh_of(prod_ca)
        peer = mesh.admit(prod_ca.issue(PATH).chain)
        interrupts = [True]

        def now() -> float:
            if interrupts:
                interrupts.clear()
                interrupt()
            return clock()

        with signalled(lambda: ask_everything(mesh, peer)) as interrupt:
            mesh = mesh_of(prod_ca, clock=now)
            interrupts.append(True)
            if call == "admit":
                assert mesh.admit(peer.chain) == peer
            elif call == "check":
                assert mesh.check(peer)
            else:
                mesh.publish(credentials=credentials(prod_ca))
        assert interrupts == []

    def test_while_a_context_is_built(self, prod_ca: CA, monkeypatch: pytest.MonkeyPatch) -> None:
        mesh = mesh_of(prod_ca)
        context = mesh.server_context()
        inner: list[Memory] = []

        def connect_inside() -> None:
            monkeypatch.undo()
            inner.append(Memory(context, stranger(prod_ca.issue(PATH))))

        def load_interrupted(*arguments: object) -> None:
            interrupt()
            load_credentials(*arguments)  # type: ignore[arg-type]  # passed on

        with signalled(connect_inside) as interrupt:
            monkeypatch.setattr("meshid.tls.generation.load_credentials", load_interrupted)
            mesh.publish(credentials=credentials(prod_ca))
            outer = Memory(context, stranger(prod_ca.issue(PATH)))
        for both in (*inner, outer):
            both.shake_hands()
        assert len(inner) == 1


class TestItMayTakeItsTime:
    """Nobody is let in whom `publish` has taken away meanwhile."""

    def mesh_that(self, act: Callable[[Mesh, AuditEvent], None], ca: CA) -> tuple[Mesh, Heard]:
        heard = Heard()
        meshes: list[Mesh] = []

        def sink(event: AuditEvent) -> None:
            heard(event)
            for mesh in meshes:
                act(mesh, event)

        mesh = mesh_of(ca, audit=sink)
        meshes.append(mesh)
        return mesh, heard

    def test_a_peer_that_was_removed_while_it_was_recorded_is_not_admitted(self, prod_ca: CA) -> None:
        mesh, heard = self.mesh_that(lambda mesh, _: remove(mesh), prod_ca)
        assert refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain)).reason is Reason.DENY_LISTED
        assert [heard.reason(), heard.reason()] == [Reason.ALLOWED, Reason.DENY_LISTED]
        assert heard.is_quiet()

    def test_nor_does_check_allow_it(self, prod_ca: CA) -> None:
        def act(mesh: Mesh, event: AuditEvent) -> None:
            if event.call == "check":
                remove(mesh)

        mesh, heard = self.mesh_that(act, prod_ca)
        peer = mesh.admit(prod_ca.issue(PATH).chain)
        assert mesh.check(peer).reason is Reason.DENY_LISTED
        assert [heard.next().call for _ in range(3)] == ["admit", "check", "check"]
        assert heard.is_quiet()

    def test_the_sink_is_called_again_only_if_the_decision_changed(self, prod_ca: CA) -> None:
        other = Revocations(deny=["spiffe://prod.example.org/other"])
        mesh, heard = self.mesh_that(lambda mesh, _: publish(mesh, other), prod_ca)
        mesh.admit(prod_ca.issue(PATH).chain)
        assert heard.reason() is Reason.ALLOWED
        assert heard.is_quiet()

    def test_a_refusal_is_not_decided_again(self, prod_ca: CA) -> None:
        """A sink may put what it sees on the deny list."""
        mesh, heard = self.mesh_that(lambda mesh, _: remove(mesh), prod_ca)
        raised = refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain, target="ledger"))
        assert raised.reason is Reason.NO_RULE is heard.reason()
        assert heard.is_quiet()


def remove(mesh: Mesh) -> None:
    publish(mesh, DENIED)


def publish(mesh: Mesh, revocations: Revocations) -> None:
    mesh.publish(revocations=revocations)


class TestItMayFail:
    @pytest.fixture(autouse=True)
    def _every_line(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "meshid")

    def test_a_log_handler_that_fails_refuses_nobody_and_leaves_nobody_in(self, prod_ca: CA) -> None:
        mesh = mesh_of(prod_ca)
        with handling(failing):
            both = connect(mesh, prod_ca)
            peer = mesh.admit(prod_ca.issue(PATH).chain)
            assert mesh.check(peer)
            assert refusal(lambda: mesh.admit([])).reason is Reason.NO_CERTIFICATE
            mesh.publish(revocations=DENIED)
            assert mesh.check(peer).reason is Reason.DENY_LISTED
        with pytest.raises(PeerRejected):
            both.server.read()

    def test_nor_does_it_when_a_sink_fails_too(self, prod_ca: CA) -> None:
        mesh = mesh_of(prod_ca, audit=failing)
        with handling(failing):
            assert refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain)).reason is Reason.INTERNAL_ERROR

    def test_a_sink_that_raises_what_has_no_text_is_a_refusal(self, prod_ca: CA) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise self

        def sink(_: AuditEvent) -> None:
            raise Mute

        raised = refusal(lambda: mesh_of(prod_ca, audit=sink).admit(prod_ca.issue(PATH).chain))
        assert raised.detail == "Mute: (its text cannot be made)"

    def test_a_clock_that_fails_publishes_nothing_and_is_recorded(self, prod_ca: CA, clock: Clock) -> None:
        works = [True]
        heard = Heard()
        mesh = mesh_of(prod_ca, clock=lambda: clock() / len(works), audit=heard)
        before = mesh.snapshot
        works.clear()
        with pytest.raises(ZeroDivisionError):
            mesh.publish(policy=CLOSED_POLICY)
        assert mesh.snapshot is before
        assert refusal(lambda: mesh.admit(prod_ca.issue(PATH).chain)).reason is Reason.INTERNAL_ERROR
        assert heard.next().time == pytest.approx(clock(), abs=60)

    def test_a_signal_handler_that_raises_leaves_no_connection_that_no_review_knows(
        self, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        mesh = mesh_of(prod_ca)
        both = Memory(mesh.server_context(), stranger(prod_ca.issue(PATH)))
        with monkeypatch.context() as interrupting:
            interrupting.setattr("meshid.admission.open_connections.OpenConnections.add", interrupted)
            with pytest.raises(KeyboardInterrupt):
                both.shake_hands()
        assert mesh.open_connections == 0
        # Whoever goes on with it is asked again.
        both.client.write(b"hello")
        both.to_server.write(both.sent.read())
        assert both.server.read() == b"hello"
        assert mesh.open_connections == 1

    def test_a_transport_that_knows_no_address_is_no_reason(
        self, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("meshid.tls.connections.MeshSSLObject.peername", property(failing))
        heard = Heard()
        connect(mesh_of(prod_ca, audit=heard), prod_ca)
        assert heard.next().connection.address is None
