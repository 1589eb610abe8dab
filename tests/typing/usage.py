"""What a user writes, and the type of what comes back. It is type-checked and never run."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, assert_type
from wsgiref.types import WSGIEnvironment

import uvicorn
from fastapi import Depends, FastAPI
from fastapi import Request as FastAPIRequest
from OpenSSL import SSL
from starlette.applications import Starlette

from meshid import (
    REQUEST_FOLLOWS,
    Alarm,
    AlarmLevel,
    AuditEvent,
    BundleSet,
    CachedVerifier,
    CacheStats,
    Call,
    ChainVerifier,
    Decision,
    DecisionKind,
    Denial,
    Explanation,
    Finding,
    FindingKind,
    Health,
    InvalidBundle,
    InvalidInput,
    InvalidPolicy,
    InvalidSettings,
    Mesh,
    MeshContext,
    MeshidError,
    NoPeer,
    Peer,
    PeerPattern,
    PeerRejected,
    Policy,
    PolicyDiff,
    Problem,
    Profile,
    Proof,
    Reason,
    Request,
    Revocations,
    Settings,
    Snapshot,
    SourceStatus,
    SpiffeId,
    TrustBundle,
    TrustDomain,
    WatchedConnection,
    X509Svid,
    peer_of,
    refusal_of,
)
from meshid.envoy import Exported, export_rbac
from meshid.http import ASGIMiddleware, Forwarded, authorizer, bundle_app
from meshid.http.starlette_require import require
from meshid.istio import Imported, import_istio
from meshid.metrics import to_opentelemetry, to_prometheus
from meshid.sources import (
    BundleEndpoint,
    BundleMapFile,
    CredentialFiles,
    DenyListFile,
    PolicyFile,
    RevocationListFiles,
    Source,
    SourceUnavailable,
    State,
    TrustFile,
    WorkloadApi,
)
from meshid.testing import CA, Issued
from meshid.tokens import KeySet, KeySets, TokenEvidence


def a_mesh_of_its_parts(pem: bytes, crl: bytes, policy: Policy) -> Mesh:
    trusted = TrustBundle.from_pem("prod.example.org", pem)
    partner = TrustBundle.from_spiffe_json(TrustDomain("partner.example"), pem, profile="spiffe")
    assert_type(trusted.authorities[0].not_valid_after_utc, datetime)
    assert_type(trusted.skipped, tuple[Problem, ...])
    assert_type(partner.to_spiffe_json(), bytes)
    bundles = BundleSet([trusted, partner])
    assert_type(bundles[TrustDomain("partner.example")], TrustBundle)
    theft = Denial(peer="spiffe://prod.example.org/ns/ci/**", reason="stolen")
    own = SpiffeId.parse("spiffe://prod.example.org/ns/old/sa/api")
    return Mesh(
        credentials=X509Svid.from_pem(pem, None),
        bundles=bundles,
        policy=policy,
        revocations=Revocations(crls=[crl], deny=[theft, own, "spiffe://prod.example.org/ns/dead/**"]),
        service="payments",
        audit=an_event_is_read,
        on_revoked=a_connection_was_ended,
    )


async def an_asyncio_server(mesh: Mesh) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert_type(peer_of(writer), Peer)
        assert_type(refusal_of(ValueError()), PeerRejected | None)

    context = mesh.server_context(alpn=["h2"], http=True, resumption=True)
    assert_type(context, MeshContext)
    await asyncio.start_server(serve, port=0, ssl=context)


def a_blocking_server(mesh: Mesh, plain: socket.socket) -> None:
    accepts: ssl.SSLContext = mesh.server_context(target="payments", minimum_version=ssl.TLSVersion.TLSv1_2)
    with accepts.wrap_socket(plain, server_side=True) as tls:
        peer = peer_of(tls)
    assert_type(peer.spiffe_id, SpiffeId)
    assert_type(peer.trust_domain, TrustDomain)
    assert_type(peer.spiffe_id.segments, tuple[str, ...])
    assert_type(peer.chain, tuple[bytes, ...])
    assert_type(peer.not_after, datetime)
    assert_type(peer.fingerprint, str)
    assert_type(peer.profile, Profile)


def pyopenssl(mesh: Mesh, plain: socket.socket) -> None:
    context: SSL.Context = mesh.openssl_context(server_side=True, http=True)
    tls = SSL.Connection(context, plain)
    tls.set_accept_state()
    assert_type(peer_of(tls).spiffe_id, SpiffeId)
    mesh.openssl_context(server_side=False, expect="/ns/pay/sa/api", alpn=["h2"])


async def a_client(mesh: Mesh) -> None:
    context = mesh.client_context("/ns/pay/sa/api", alpn=("h2", "http/1.1"))
    await asyncio.open_connection("payments", 8443, ssl=context)
    assert_type(mesh.client_context(expect=["/ns/pay/sa/api", "/ns/pay/sa/web"]), MeshContext)


def every_form_of_expect(mesh: Mesh, chain: Sequence[bytes]) -> None:
    name = SpiffeId.parse("spiffe://prod.example.org/ns/pay/sa/api")
    pattern = PeerPattern.parse("/ns/pay/**")
    assert_type(mesh.admit(chain, expect="/ns/pay/sa/api"), Peer)
    assert_type(mesh.admit(chain, expect=name), Peer)
    assert_type(mesh.admit(chain, expect=pattern), Peer)
    peer = mesh.admit(chain, expect=["/ns/pay/sa/api", name, pattern])
    assert_type(mesh.check(peer, expect={name}), Decision)
    assert_type(mesh.check(peer, expect=(each for each in (pattern, pattern))), Decision)
    for expect in ("/ns/pay/sa/api", name, pattern, ("/ns/pay/sa/api", name, pattern)):
        assert_type(mesh.client_context(expect), MeshContext)


def a_token_adds_to_a_certificate(policy: Policy, chain: list[bytes], jwks: bytes, jwt: str) -> Decision:
    mesh = Mesh(policy=policy, keys=KeySets([KeySet.from_json("okta", jwks)]), tokens="required")
    mesh.publish(keys=KeySets())
    bound = mesh.bind(mesh.admit(chain), jwt)
    assert_type(bound, Peer)
    assert_type(bound.token, TokenEvidence | None)
    assert_type(bound.evidence, frozenset[str])
    assert_type(mesh.admit(chain, request="GET /", token=jwt), Peer)
    assert_type(mesh.decide(chain, request="GET /", token=None), Decision)
    return mesh.check(bound, request="GET /")


def each_request_is_checked(mesh: Mesh, chain: list[bytes]) -> bool:
    peer = mesh.admit(chain, target="payments", request=REQUEST_FOLLOWS)
    mesh.check(peer, request=Request("POST", "/v1/charges"))
    decision = mesh.check(peer, request="POST /v1/charges")
    assert_type(decision.allowed, bool)
    assert_type(decision.reason, Reason)
    assert_type(decision.reason.remedy, str)
    assert_type(decision.rule, str | None)
    assert_type(decision.observed, tuple[str, ...])
    return bool(decision)


def what_changes_is_published(mesh: Mesh, ca: CA, policy: Policy) -> None:
    assert_type(mesh.publish(policy=policy), Snapshot)
    mesh.publish(policy=None, credentials=None)
    bundles = BundleSet([ca.bundle()])
    now = mesh.publish(credentials=ca.issue().svid, bundles=bundles, revocations=Revocations())
    assert_type(now.generation, int)
    assert_type(now.policy, Policy | None)
    assert_type(now.name, SpiffeId | None)


def a_policy_is_asked(peer: Peer, name: SpiffeId) -> None:
    policy = Policy.load(Path("policy.toml"), environment="prod")
    other = Policy.from_toml("version = 1", environment="dev")
    assert_type(Policy.from_json(b"{}", "prod"), Policy)
    assert_type(policy.hash, str)
    assert_type(policy.decide(peer, "payments"), Decision)
    assert_type(policy.decide(name, "payments", "GET /v1/charges/4"), Decision)
    explanation = policy.explain(name, "payments", REQUEST_FOLLOWS)
    assert_type(explanation, Explanation)
    assert_type(explanation.decision, Decision)
    assert_type(explanation.nearest[0].rule.id, str)
    assert_type(policy.lint(ignore={FindingKind.NO_WHY}), list[Finding])
    diff = policy.diff(other)
    assert_type(diff, PolicyDiff)
    assert_type(diff.gains[0].rule, str)
    proof = policy.prove(never="spiffe://dev.example.org/**", reach="payments")
    assert_type(proof, Proof)
    assert_type(proof.holds, bool)
    if proof.counterexample is not None:
        assert_type(proof.counterexample.decision, Decision)


def settings_are_read(environ: dict[str, str]) -> None:
    settings = Settings.from_env(environ, service="payments")
    assert_type(settings, Settings)
    assert_type(settings.port, int | None)
    assert_type(settings.sources(), list[Source])
    for shown in settings.items():
        assert_type(shown, tuple[str, str, str])
    with Mesh.from_settings(settings) as mesh:
        assert_type(mesh, Mesh)
    with Mesh.from_env(environ, audit=print) as mesh:
        assert_type(mesh.service, str | None)


class Vault:
    """A source of a user's own."""

    name = "vault"
    is_required = True
    is_stream = False

    def read(self) -> State:
        return State(bundles=(CA("prod.example.org").bundle(),), warnings=("soon sealed",))

    def pause(self) -> float:
        return 30.0

    def close(self) -> None:
        pass


def sources_are_followed(roots: bytes) -> None:
    sources: list[Source] = [
        CredentialFiles("/run/secrets/tls", layout="kubernetes"),
        CredentialFiles(Path("tls.crt"), Path("tls.key")),
        TrustFile("corp.example", "corp.pem", profile="dns"),
        BundleMapFile("bundles.json"),
        BundleEndpoint.https_web("partner.example", "https://partner.example/bundle", roots=roots),
        WorkloadApi("unix:///run/spire/agent.sock"),
        DenyListFile("deny.toml"),
        RevocationListFiles(["crls"], grace=3600),
        PolicyFile("policy.toml", environment="prod"),
        Vault(),
    ]
    with Mesh.from_sources(sources, service="payments", timeout=5, state_file="state.json") as mesh:
        assert_type(mesh.refresh(), Snapshot)
        assert_type(mesh.sources(), tuple[SourceStatus, ...])


def a_mesh_is_watched(mesh: Mesh) -> None:
    health = mesh.health()
    assert_type(health, Health)
    assert_type(health.alarms, tuple[Alarm, ...])
    assert_type(health.alarms[0].level, AlarmLevel)
    assert_type(mesh.counts(), dict[DecisionKind, int])
    assert_type(mesh.status(), dict[str, object])
    assert_type(mesh.open_connections, int)
    to_prometheus(mesh)
    to_opentelemetry(mesh)
    bundle_app(mesh, "prod.example.org", refresh_hint=60)


def behind_a_proxy(mesh: Mesh, environ: WSGIEnvironment, pem: bytes) -> None:
    forwarded = Forwarded("nginx", intermediates=pem)
    mesh.admit(forwarded.chain(environ), request="GET /")
    assert_type(forwarded.chain([(b"x-client-cert-pem", b"a")]), tuple[bytes, ...])
    assert_type(forwarded.chain({"X-Client-Cert-Pem": "a"}), tuple[bytes, ...])
    assert_type(forwarded.chain_of(forwarded.values([("a", "b")])), tuple[bytes, ...])
    assert_type(Forwarded("envoy", intermediates=[pem], elements=2).intermediates, tuple[bytes, ...])


def a_connection_was_ended(peer: Peer, rejection: PeerRejected, _: object) -> None:
    assert_type(peer.names, tuple[str, ...])
    assert_type(rejection.decision, Decision)


def an_event_is_read(event: AuditEvent) -> None:
    assert_type(event.call, Call)
    assert_type(event.decision.name, str | None)
    assert_type(event.as_dict(), dict[str, object])


def exceptions_tell_whose_fault_it_is(mesh: Mesh, chain: list[bytes]) -> Decision | None:
    try:
        mesh.admit(chain)
    except PeerRejected as rejection:
        refusal: ssl.SSLCertVerificationError = rejection
        assert_type(rejection.reason, Reason)
        assert_type(rejection.detail, str)
        assert_type(refusal.verify_message, str)
        return rejection.decision
    except (InvalidPolicy, InvalidSettings) as error:
        operators: ValueError = error
        assert_type(error.problems, tuple[Problem, ...])
        raise operators from None
    except (InvalidBundle, InvalidInput, NoPeer, SourceUnavailable) as error:
        ours: MeshidError = error
        raise ours from None
    return None


def chains_are_verified_without_a_mesh(bundles: BundleSet, ca: CA) -> None:
    issued = ca.intermediate().issue("/ns/pay/sa/api", dns=["api.pay"])
    assert_type(issued, Issued)
    verifier = CachedVerifier(ChainVerifier(bundles, revocations=Revocations(), clock=lambda: 0.0))
    assert_type(verifier.verify(issued.chain, role="server"), Peer)
    assert_type(verifier.recall(issued.chain[0]), Peer | None)
    assert_type(verifier.stats(), CacheStats)


def istio_is_imported(text: bytes) -> None:
    imported = import_istio([("a.yaml", text)], environment="prod", trust_domains=["prod.example.org"])
    assert_type(imported, Imported)


def envoy_is_exported_to(policy: Policy) -> None:
    assert_type(export_rbac(policy, "payments", now=0.0), Exported)


def watching(mesh: Mesh, peer: Peer, transport: asyncio.Transport) -> None:
    address = transport.get_extra_info("peername")
    with mesh.watch(peer, lambda _: transport.abort(), address=address, http=True) as watched:
        assert_type(watched, WatchedConnection)
        assert_type(watched.peer, Peer | None)
        assert_type(watched.rejection, PeerRejected | None)
    assert_type(mesh.watch(peer, print, expect="/ns/pay/sa/api").done(), None)


def asgi(mesh: Mesh) -> None:
    app = FastAPI()
    app.add_middleware(ASGIMiddleware, mesh=mesh, target="payments", public=["GET /healthz"])
    wrapped = ASGIMiddleware(app, mesh)
    ASGIMiddleware(ASGIMiddleware(Starlette(), mesh), mesh)
    context = mesh.server_context(http=True)
    uvicorn.run(wrapped, ssl_context_factory=lambda config, default: context)  # noqa: ARG005
    app.mount("/authorizer", authorizer(mesh, proxy="nginx"))

    async def charges(request: FastAPIRequest, peer: Annotated[Peer, Depends(require("payments"))]) -> str:
        assert_type(await require("payments")(request), Peer)
        return str(peer.spiffe_id)

    app.add_api_route("/charges", charges)
