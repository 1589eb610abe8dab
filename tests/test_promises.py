"""The seven promises of meshid, each shown where it counts: over TLS, at the end of a real connection.

Each class has a promise as its docstring. The tests of the rooms show the rest:
`tests/tls/` for promises 3 and 4, `tests/admission/test_snapshot.py` for 5.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import attrs
import pytest
from cryptography import x509

from meshid import (
    AuditEvent,
    BundleSet,
    ChainVerifier,
    InvalidBundle,
    InvalidCredentials,
    InvalidPolicy,
    Mesh,
    MeshidError,
    Peer,
    PeerRejected,
    Reason,
    Revocations,
    SpiffeId,
    TrustBundle,
    X509Svid,
    peer_of,
)
from meshid.certificates.reading import fingerprint
from meshid.testing import CA, Issued
from meshid.tokens import KeySets
from meshid.tokens.token_verifier import TokenVerifier
from meshid.verification.cache import CachedVerifier
from tests.helpers.binding_scene import PEERS, WEB, WEB_CLIENT, BindingScene, token_policy
from tests.helpers.cost import calls_of
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import (
    CLOSED_POLICY,
    HELLO,
    HOST,
    PATH,
    POLICY,
    SERVERS,
    TIMEOUT,
    Handler,
    Heard,
    Memory,
    Service,
    Serving,
    admission_of,
    arriving,
    credentials,
    knock,
    mesh_of,
    policy,
    policy_that,
    stranger,
    threaded_server,
)
from tests.helpers.world import HOUR, Clock

EACH_SERVER = pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)

NAME = f"spiffe://prod.example.org{PATH}"
ANSWER = f"{NAME}\n".encode()
UNKNOWN = "/ns/unknown/sa/web"


def _fail() -> None:
    msg = "a part of the mesh is broken"
    raise RuntimeError(msg)


class TestFailClosed:
    """Promise 1: no code path yields a peer that was not verified under the current trust,
    revocations and policy. An exception inside meshid is a refusal.
    """

    @EACH_SERVER
    @pytest.mark.parametrize("part", ["policy", "sink", "clock", "backend"])
    def test_an_exception_inside_is_a_refusal(
        self,
        part: str,
        serve: Serving,
        prod_ca: CA,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        broken = threading.Event()

        def fail_if_broken(*_: object) -> None:
            if broken.is_set():
                _fail()

        def clock() -> float:
            fail_if_broken()
            return time.time()

        heard = Heard()

        def sink(event: AuditEvent) -> None:
            fail_if_broken()
            heard(event)

        mesh = mesh_of(
            prod_ca,
            policy=policy_that(fail_if_broken) if part == "policy" else policy(),
            audit=sink if part == "sink" else heard,
            clock=clock if part == "clock" else time.time,
        )
        with serve(mesh.server_context()) as service:
            client = stranger(prod_ca.issue(PATH))
            assert knock(service.port, client).answer == ANSWER
            assert heard.reason() is Reason.ALLOWED
            broken.set()
            if part == "backend":
                monkeypatch.setattr(CachedVerifier, "verify", lambda *_, **__: _fail())
            assert knock(service.port, client).answer == b""
            assert service.seen == [HELLO]
        if part in {"policy", "backend"}:
            assert heard.reason() is Reason.INTERNAL_ERROR
        assert "a part of the mesh is broken" in caplog.text

    @pytest.mark.parametrize(
        ("parts", "reason"),
        [
            pytest.param({"policy": None}, Reason.NO_POLICY, id="no policy"),
            pytest.param({"policy": CLOSED_POLICY}, Reason.NO_RULE, id="a policy without rules"),
            pytest.param({"bundles": BundleSet()}, Reason.UNKNOWN_TRUST_DOMAIN, id="no bundle"),
            pytest.param(
                {"bundles": BundleSet([TrustBundle.from_spiffe_json("prod.example.org", b'{"keys": []}')])},
                Reason.UNKNOWN_AUTHORITY,
                id="an empty bundle",
            ),
        ],
    )
    @EACH_SERVER
    def test_a_missing_part_lets_nobody_in(
        self, parts: dict[str, object], reason: Reason, serve: Serving, prod_ca: CA, heard: Heard
    ) -> None:
        mesh = mesh_of(prod_ca, audit=heard)
        with serve(mesh.server_context()) as service:
            mesh.publish(**parts)  # type: ignore[arg-type]
            assert knock(service.port, stranger(prod_ca.issue(PATH))).answer == b""
            assert service.seen == []
        assert heard.reason() is reason

    def test_a_peer_is_made_by_verification_only(self, mesh: Mesh, prod_ca: CA) -> None:
        with pytest.raises(TypeError, match="made by verification only"):
            Peer()
        assert type(mesh.admit(prod_ca.issue(PATH).chain)) is Peer


class TestFailClosedWithTokens:
    """Promise 1, for what a peer sends on its connection: a token that cannot be judged is a refusal."""

    def test_an_exception_inside_is_a_refusal(
        self, prod_ca: CA, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene = BindingScene(prod_ca, clock)
        token = scene.okta_token()
        with (
            threaded_server(binding(scene.mesh)) as service,
            opened(service.port, stranger(prod_ca.issue(WEB))) as line,
        ):
            assert tell(line, token) == "allowed, rule refunds"
            with monkeypatch.context() as patch:
                patch.setattr(TokenVerifier, "check_current", lambda *_: _fail())
                assert tell(line, token) == "internal_error, rule None"
            assert tell(line, token) == "allowed, rule refunds"
            assert tell(line, "") == "token_malformed, rule None"
            assert tell(line, "opaque") == "no_rule, rule None"


class TestACaSpeaksOnlyForItsOwnTrustDomain:
    """Promise 2: a chain is checked against the bundle of the trust domain that the leaf claims,
    never against a pool. A dev CA cannot mint a prod name, even where dev is federated with prod.
    """

    FEDERATED = POLICY.replace(
        'from = ["/ns/shop/**"]', 'from = ["/ns/shop/**", "spiffe://dev.example.org/ns/shop/**"]'
    )

    @pytest.fixture
    def mesh(self, prod_ca: CA, dev_ca: CA, heard: Heard) -> Mesh:
        both = BundleSet([prod_ca.bundle(), dev_ca.bundle()])
        return mesh_of(prod_ca, bundles=both, policy=policy(self.FEDERATED), audit=heard)

    @EACH_SERVER
    def test_a_federated_ca_cannot_mint_our_names(
        self, serve: Serving, mesh: Mesh, dev_ca: CA, heard: Heard
    ) -> None:
        with serve(mesh.server_context(resumption=True)) as service:
            for issuer in (dev_ca, dev_ca.intermediate()):
                assert knock(service.port, stranger(issuer.issue(NAME))).answer == b""
            assert service.seen == []
            own = f"spiffe://dev.example.org{PATH}\n".encode()
            assert knock(service.port, stranger(dev_ca.issue(PATH))).answer == own
        assert [heard.reason() for _ in range(3)] == [
            Reason.FOREIGN_AUTHORITY,
            Reason.FOREIGN_AUTHORITY,
            Reason.ALLOWED,
        ]

    def test_a_federated_ca_cannot_mint_the_name_of_our_server(self, mesh: Mesh, dev_ca: CA) -> None:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        dev_ca.issue(NAME).load_into(server)
        both = Memory(server, mesh.client_context([PATH]))
        with pytest.raises(PeerRejected) as caught:
            both.shake_hands()
        assert caught.value.reason is Reason.FOREIGN_AUTHORITY

    def test_a_pool_of_the_same_authorities_would_accept_it(self, prod_ca: CA, dev_ca: CA) -> None:
        """Without this, the tests above would prove nothing."""
        pool = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        prod_ca.issue("/ns/pay/sa/payments").load_into(pool)
        pool.verify_mode = ssl.CERT_REQUIRED
        pool.load_verify_locations(cadata=(prod_ca.pem + dev_ca.pem).decode())
        Memory(pool, stranger(dev_ca.issue(NAME))).shake_hands()


@attrs.frozen
class Site:
    """A mesh, and the peer that loses its trust."""

    mesh: Mesh
    clock: Clock
    issuing: CA
    client: Issued


def _expire(site: Site) -> None:
    site.clock.now += 2 * HOUR


REMOVALS: dict[str, tuple[Callable[[Site], object], Reason]] = {
    "its trust domain": (lambda site: site.mesh.publish(bundles=BundleSet()), Reason.UNKNOWN_TRUST_DOMAIN),
    "its authority": (
        lambda site: site.mesh.publish(
            bundles=BundleSet([CA("prod.example.org", subject="CN=new").bundle()])
        ),
        Reason.UNKNOWN_AUTHORITY,
    ),
    "its certificate": (
        lambda site: site.mesh.publish(revocations=Revocations(crls=[site.issuing.crl(site.client)])),
        Reason.REVOKED,
    ),
    "its name": (
        lambda site: site.mesh.publish(revocations=Revocations(deny=[NAME])),
        Reason.DENY_LISTED,
    ),
    "its rule": (lambda site: site.mesh.publish(policy=CLOSED_POLICY), Reason.NO_RULE),
    "its time": (_expire, Reason.EXPIRED),
}


class TestTrustThatWasRemovedIsGone:
    """Promise 3: for new handshakes, for resumed sessions, for connections that are open,
    and for the next call on one.
    """

    @pytest.fixture
    def site(self, mesh: Mesh, clock: Clock, prod_ca: CA) -> Site:
        issuing = prod_ca.intermediate()
        return Site(mesh, clock, issuing, issuing.issue(PATH))

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize(("remove", "reason"), REMOVALS.values(), ids=REMOVALS)
    def test_the_peer_is_refused_whichever_way_it_comes(
        self,
        remove: Callable[[Site], object],
        reason: Reason,
        version: ssl.TLSVersion,
        site: Site,
        heard: Heard,
    ) -> None:
        client = stranger(site.client)
        client.maximum_version = version
        context = site.mesh.server_context(resumption=True, minimum_version=ssl.TLSVersion.TLSv1_2)
        with threaded_server(checking(context, site.mesh)) as service:
            session = knock(service.port, client).session
            assert knock(service.port, client, session=session).resumed
            with opened(service.port, client) as line:
                assert ask(line) == b"allowed\n"
                peer = site.mesh.admit(site.client.chain)
                _forget(heard, 7)
                # The handlers of the first two may still be closing; a review would end those, too.
                assert eventually(lambda: site.mesh.open_connections == 1)
                remove(site)
                admission = admission_of(site.mesh)
                admission.tell(admission.sweep(admission.clock()))
                assert line.recv(1024) == b""
                event = heard.next()
                assert (event.call, event.decision.reason) == ("review", reason)
            assert site.mesh.check(peer).reason is reason
            assert heard.reason() is reason
            for offered in (None, session):
                assert knock(service.port, client, session=offered).answer == b""
                assert heard.reason() is reason
        assert heard.is_quiet()


def _withdraw(scene: BindingScene) -> None:
    scene.okta.new_key()
    scene.okta.withdraw(scene.okta.keys[0])
    scene.mesh.publish(keys=scene.keys())


def _end(scene: BindingScene) -> None:
    scene.clock.now += timedelta(seconds=400)


TOKEN_REMOVALS: dict[str, tuple[Callable[[BindingScene], object], Reason]] = {
    "its key": (_withdraw, Reason.TOKEN_KEY_UNKNOWN),
    "its keys": (lambda scene: scene.mesh.publish(keys=KeySets()), Reason.TOKEN_KEYS_UNAVAILABLE),
    "its name": (
        lambda scene: scene.mesh.publish(policy=token_policy(peers=PEERS.replace(WEB_CLIENT, "0oa1x"))),
        Reason.TOKEN_DISAGREES,
    ),
    "its time": (_end, Reason.TOKEN_NOT_IN_DATE),
}


class TestATokenThatWasRemovedIsGone:
    """Promise 3, for the next call on a connection that is open, and for a stream on it."""

    @pytest.mark.parametrize(("remove", "reason"), TOKEN_REMOVALS.values(), ids=TOKEN_REMOVALS)
    def test_and_its_connection_stays(
        self, remove: Callable[[BindingScene], object], reason: Reason, prod_ca: CA, clock: Clock
    ) -> None:
        scene = BindingScene(prod_ca, clock)
        token, ended = scene.okta_token(), queue.SimpleQueue[PeerRejected]()
        bound = scene.mesh.bind(scene.peer(), token)
        with (
            threaded_server(binding(scene.mesh)) as service,
            opened(service.port, stranger(prod_ca.issue(WEB))) as line,
            scene.mesh.watch(bound, ended.put, request="GET /stream"),
        ):
            assert tell(line, token) == "allowed, rule refunds"
            remove(scene)
            admission = admission_of(scene.mesh)
            admission.tell(admission.sweep(clock()))
            assert ended.get(timeout=TIMEOUT).reason is reason
            assert scene.mesh.check(bound).reason is reason
            assert tell(line, token) == f"{reason}, rule None"
            assert tell(line, "opaque") == "no_rule, rule None"


def binding(mesh: Mesh) -> Handler:
    """Bind each line, a token, to the peer of the connection, and answer with what it may reach then."""
    context = mesh.server_context()

    def handle(_: Service, plain: socket.socket) -> None:
        tls = context.wrap_socket(plain, server_side=True)
        with tls, tls.makefile("r") as lines:
            for text in lines:
                try:
                    decision = mesh.check(mesh.bind(peer_of(tls), text.rstrip("\n")), target="refunds")
                except PeerRejected as rejection:
                    decision = rejection.decision
                tls.sendall(f"{decision.reason}, rule {decision.rule}\n".encode())

    return handle


def tell(line: ssl.SSLSocket, token: str) -> str:
    line.sendall(f"{token}\n".encode())
    return line.recv(1024).decode().rstrip("\n")


def checking(context: ssl.SSLContext, mesh: Mesh) -> Handler:
    """Answer each line with what `check()` says of the peer."""

    def handle(_: Service, plain: socket.socket) -> None:
        tls = context.wrap_socket(plain, server_side=True)
        with tls, tls.makefile("rb") as lines:
            for line in lines:
                assert line == HELLO
                tls.sendall(f"{mesh.check(peer_of(tls)).reason}\n".encode())

    return handle


@contextlib.contextmanager
def opened(port: int, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with socket.create_connection((HOST, port), TIMEOUT) as plain, context.wrap_socket(plain) as tls:
        yield tls


def ask(line: ssl.SSLSocket) -> bytes:
    line.sendall(HELLO)
    return line.recv(1024)


def _forget(heard: Heard, count: int) -> None:
    assert [heard.reason() for _ in range(count)] == [Reason.ALLOWED] * count


class TestTheApplicationNeverSeesAByte:
    """Promise 4: of a refused peer, whatever framework it runs."""

    STRANGERS: ClassVar[dict[str, Callable[[CA, CA], Issued | None]]] = {
        "no certificate": lambda _, __: None,
        "an unknown trust domain": lambda _, dev: dev.issue(PATH),
        "no rule": lambda prod, _: prod.issue(UNKNOWN),
        "a deny rule": lambda prod, _: prod.issue("/ns/shop/sa/agent"),
        "expired": lambda prod, _: prod.issue(PATH, not_after=datetime.now(UTC) - HOUR),
        "a CA as leaf": lambda prod, _: prod.issue(PATH, ca=True),
    }

    @EACH_SERVER
    @pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_and_the_peer_never_sees_one_of_the_application(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        make: Callable[[CA, CA], Issued | None],
        version: ssl.TLSVersion,
        serve: Serving,
        mesh: Mesh,
        prod_ca: CA,
        dev_ca: CA,
        heard: Heard,
    ) -> None:
        client = stranger(make(prod_ca, dev_ca))
        client.maximum_version = version
        with serve(mesh.server_context(minimum_version=ssl.TLSVersion.TLSv1_2)) as service:
            assert knock(service.port, client).answer == b""
            assert not heard.next().decision.allowed
        assert service.seen == []
        assert heard.is_quiet()

    def test_a_server_that_sends_its_exceptions_reveals_no_reason(
        self, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        """Gunicorn's threads answer a failure with a page that has the text of the exception in it."""
        pages: list[str] = []
        context = mesh.server_context()

        def serve_pages(_: Service, plain: socket.socket) -> None:
            tls = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            with tls:
                try:
                    tls.recv(100)
                except OSError as error:
                    pages.append(f"<h1>{error}</h1>{error!r}{error.args}{error.strerror}")
                    tls.sendall(pages[0].encode())

        with threaded_server(serve_pages) as service:
            assert knock(service.port, stranger(prod_ca.issue("/ns/shop/sa/agent"))).answer == b""
            assert isinstance(service.refusal(), PeerRejected)
        decision = heard.next().decision
        assert decision.rule == "no-agents"
        (page,) = pages
        secret = (
            decision.reason,
            decision.reason.meaning,
            "no-agents",
            "agent",
            "payments",
            decision.policy_hash,
        )
        assert [word for word in secret if str(word) in page] == []
        assert "peer rejected" in page

    def test_a_server_that_refuses_is_an_oserror_like_any_failed_handshake(self, prod_ca: CA) -> None:
        with (
            arriving(stranger(prod_ca.issue(UNKNOWN))) as (plain, _),
            pytest.raises(ssl.SSLCertVerificationError) as caught,
        ):
            mesh_of(prod_ca).server_context().wrap_socket(plain, server_side=True)
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, MeshidError)


BAD_UPDATES: dict[str, tuple[Callable[[Mesh, CA], object], type[MeshidError]]] = {
    "a certificate file that is half written": (
        lambda mesh, ca: mesh.publish(
            credentials=X509Svid.from_pem(ca.issue().chain_pem[:-40], ca.issue().key_pem)
        ),
        InvalidCredentials,
    ),
    "a key that does not match": (
        lambda mesh, ca: mesh.publish(
            credentials=X509Svid.from_pem(ca.issue().chain_pem, ca.issue().key_pem)
        ),
        InvalidCredentials,
    ),
    "a certificate that has expired": (
        lambda mesh, ca: mesh.publish(credentials=ca.issue("/x", not_after=datetime.now(UTC) - HOUR).svid),
        InvalidCredentials,
    ),
    "a certificate of another environment": (
        lambda mesh, _: mesh.publish(credentials=credentials(CA("dev.example.org"))),
        InvalidCredentials,
    ),
    "a bundle that is half written": (
        lambda mesh, ca: mesh.publish(
            bundles=BundleSet([TrustBundle.from_pem("prod.example.org", ca.pem[:-40])])
        ),
        InvalidBundle,
    ),
    "a bundle that has expired": (
        lambda mesh, _: mesh.publish(
            bundles=BundleSet([CA("prod.example.org", not_after=datetime.now(UTC) - HOUR).bundle()])
        ),
        InvalidBundle,
    ),
    "a policy with a typo": (
        lambda mesh, _: mesh.publish(policy=policy(POLICY.replace("from", "form", 1))),
        InvalidPolicy,
    ),
    "a good bundle with a bad certificate": (
        lambda mesh, ca: mesh.publish(
            bundles=BundleSet(),
            credentials=ca.issue("/x", not_after=datetime.now(UTC) - HOUR).svid,
        ),
        InvalidCredentials,
    ),
}


class TestABadUpdateChangesNothing:
    """Promise 5: a half-written file, a key that does not match, an expired bundle, a policy
    with a typo: the last good state stays in force, and an alarm says so.
    """

    @pytest.mark.parametrize(("update", "alarm"), BAD_UPDATES.values(), ids=BAD_UPDATES)
    @EACH_SERVER
    def test_the_last_good_state_serves_on(  # noqa: PLR0913, PLR0917  # fixtures
        self,
        update: Callable[[Mesh, CA], object],
        alarm: type[MeshidError],
        serve: Serving,
        mesh: Mesh,
        prod_ca: CA,
        dev_ca: CA,
        heard: Heard,
    ) -> None:
        before = mesh.snapshot
        with serve(mesh.server_context()) as service:
            with pytest.raises(alarm):
                update(mesh, prod_ca)
            assert mesh.snapshot is before
            visit = knock(service.port, stranger(prod_ca.issue(PATH)))
            assert (visit.answer, visit.presented) == (ANSWER, before.credentials.chain[0])  # type: ignore[union-attr]
            assert knock(service.port, stranger(dev_ca.issue(PATH))).answer == b""
        assert [heard.next().generation, heard.next().generation] == [before.generation] * 2


class TestEveryDecisionExplainsItself:
    """Promise 6: which rule, in which policy (by hash), for which name, from which evidence; or
    the nearest rule that would have let it in.
    """

    @EACH_SERVER
    def test_an_admission_names_its_rule_and_its_evidence(
        self, serve: Serving, mesh: Mesh, prod_ca: CA, heard: Heard
    ) -> None:
        client = prod_ca.issue(PATH)
        with serve(mesh.server_context()) as service:
            assert knock(service.port, stranger(client)).answer == ANSWER
        event = heard.next()
        fields = event.as_dict()
        leaf = client.certificate
        assert fields == {
            "time": fields["time"],
            "event.name": "meshid.peer.admit",
            "meshid.decision": "allow",
            "meshid.reason": "allowed",
            "meshid.peer.spiffe_id": NAME,
            "meshid.peer.role": "client",
            "meshid.local.spiffe_id": "spiffe://prod.example.org/ns/pay/sa/payments",
            "meshid.target": "payments",
            "meshid.generation": 1,
            "deployment.environment.name": "prod",
            "security_rule.name": "shop",
            "security_rule.version": policy().hash,
            "tls.client.hash.sha256": fingerprint(client.chain[0]).upper(),
            "tls.client.issuer": leaf.issuer.rfc4514_string(),
            "tls.client.not_before": leaf.not_valid_before_utc.isoformat(),
            "tls.client.not_after": leaf.not_valid_after_utc.isoformat(),
            "tls.client.x509.serial_number": f"{leaf.serial_number:X}",
            "tls.protocol.version": "1.3",
            "tls.cipher": fields["tls.cipher"],
            "tls.resumed": False,
            "network.peer.address": "127.0.0.1",
            "network.peer.port": fields["network.peer.port"],
        }

    @EACH_SERVER
    @pytest.mark.parametrize(
        ("make", "reason", "rule", "words"),
        [
            pytest.param(
                lambda prod, _: prod.issue("/ns/shop/sa/agent"), Reason.DENIED, "no-agents", "", id="denied"
            ),
            pytest.param(
                lambda prod, _: prod.issue("/ns/shops/sa/web"), Reason.NO_RULE, None, '"shop"', id="no rule"
            ),
            pytest.param(
                lambda _, dev: dev.issue(NAME),
                Reason.UNKNOWN_AUTHORITY,
                None,
                "dev.example.org",
                id="no path",
            ),
        ],
    )
    def test_a_refusal_names_what_it_takes_to_understand_it(  # noqa: PLR0913, PLR0917  # a table
        self,
        make: Callable[[CA, CA], Issued],
        reason: Reason,
        rule: str | None,
        words: str,
        serve: Serving,
        mesh: Mesh,
        prod_ca: CA,
        dev_ca: CA,
        heard: Heard,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        client = make(prod_ca, dev_ca)
        with serve(mesh.server_context()) as service:
            assert knock(service.port, stranger(client)).answer == b""
        event = heard.next()
        decision = event.decision
        assert (decision.reason, decision.rule, decision.policy_hash) == (reason, rule, policy().hash)
        assert decision.name == str(SpiffeId.parse(_uri(client)))
        assert words in decision.detail
        assert event.fingerprint == fingerprint(client.chain[0])
        assert (bool(reason.clause), bool(reason.remedy)) == (True, True)
        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.WARNING, str(event))


def _uri(issued: Issued) -> str:
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


class TestItCostsAlmostNothing:
    """Promise 7: a peer seen before is admitted for a few dictionary look-ups."""

    MOST_CALLS = 40
    """Calls of Python functions for one admission; a verification takes hundreds."""

    @EACH_SERVER
    def test_a_peer_seen_before_is_not_verified_again(
        self, serve: Serving, mesh: Mesh, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = stranger(prod_ca.intermediate().issue(PATH))
        with serve(mesh.server_context()) as service:
            assert knock(service.port, client).answer == ANSWER
            monkeypatch.setattr(ChainVerifier, "verify", lambda *_, **__: _fail())
            assert knock(service.port, client).answer == ANSWER
        assert mesh.snapshot.verifier.stats().hits == 1

    def test_an_admission_is_a_few_calls(self, prod_ca: CA) -> None:
        mesh, chain = mesh_of(prod_ca), prod_ca.intermediate().issue(PATH).chain
        cold, warm = (calls_of(lambda: mesh.admit(chain), in_c=False) for _ in range(2))
        assert warm <= self.MOST_CALLS < cold
