"""The same chain gets the same decision, for the same reason, whichever way it comes in."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator

import attrs
import pytest

from meshid import BundleSet, CachedVerifier, ChainVerifier, Mesh, PeerRejected, Reason
from meshid.names.peer_pattern import PeerPattern
from meshid.testing import Issued
from tests.helpers.chain_case import Case
from tests.helpers.chain_cases import CASES
from tests.helpers.openssl_peers import greet_openssl, openssl_server
from tests.helpers.tls_peers import (
    HELLO,
    SERVERS,
    Heard,
    Service,
    credentials,
    greet_asyncio,
    greet_blocking,
    knock,
    policy,
    presenting_server,
    stranger,
    tls12,
)
from tests.helpers.world import FEDERATED, Clock, World

EVERYBODY = ["/**", *(f"spiffe://{domain}/**" for domain in FEDERATED)]
TLS12 = ssl.TLSVersion.TLSv1_2
OLDER = ("asyncio", "blocking")
"""Servers that are tried with TLS 1.2, too."""

OPEN_POLICY = policy(f"""
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = {list(FEDERATED)}
[[allow]]
id = "everybody"
from = {EVERYBODY}
to = ["payments"]
""")


class Stage:
    """A mesh that trusts what the cases need, and its servers."""

    def __init__(self, world: World, bundles: BundleSet, stack: contextlib.ExitStack) -> None:
        self.heard = Heard()
        self.verifier = ChainVerifier(bundles, revocations=world.revocations)
        self.mesh = _mesh(world, bundles, self.heard)
        context = self.mesh.server_context(resumption=True)
        older = self.mesh.server_context(minimum_version=TLS12)
        self.services = {kind: stack.enter_context(serve(context)) for kind, serve in SERVERS.items()}
        self.older_services = {kind: stack.enter_context(SERVERS[kind](older)) for kind in OLDER}
        openssl = self.mesh.openssl_context(server_side=True, minimum_version=TLS12)
        self.openssl = stack.enter_context(openssl_server(openssl))


def _mesh(world: World, bundles: BundleSet, heard: Heard) -> Mesh:
    # An expired authority can be in force only if it was in date once.
    clock = Clock()
    today, clock.now = clock.now, world.past
    old = BundleSet([world.faded.bundle()])
    mesh = Mesh(bundles=old, revocations=world.revocations, service="payments", audit=heard, clock=clock)
    clock.now = today
    mesh.publish(bundles=bundles, policy=OPEN_POLICY, credentials=credentials(world.prod))
    return mesh


@attrs.frozen
class Chain:
    """The chain of one case, made once for all paths, and the stage that decides about it."""

    case: Case
    made: Issued | tuple[bytes, ...]
    stage: Stage

    @property
    def ders(self) -> tuple[bytes, ...]:
        return self.made.chain if isinstance(self.made, Issued) else self.made

    @property
    def issued(self) -> Issued:
        assert isinstance(self.made, Issued)
        return self.made


@pytest.fixture(scope="module")
def chain_of(world: World) -> Iterator[Callable[[Case], Chain]]:
    made: dict[str, Issued | tuple[bytes, ...]] = {}
    stages: dict[BundleSet, Stage] = {}
    with contextlib.ExitStack() as stack:

        def chain_of(case: Case) -> Chain:
            bundles = case.bundles(world)
            if bundles not in stages:
                stages[bundles] = Stage(world, bundles, stack)
            if case.name not in made:
                made[case.name] = case.make(world)
            return Chain(case, made[case.name], stages[bundles])

        yield chain_of


# -- The paths ----------------------------------------------------------------

Verdict = tuple[Reason, str | None]
"""The reason, and the name that was verified or claimed."""

Path = Callable[[Chain], Verdict]


def through_the_verifier(chain: Chain) -> Verdict:
    return _verdict(chain.stage.verifier, chain)


def through_a_cold_cache(chain: Chain) -> Verdict:
    return _verdict(CachedVerifier(chain.stage.verifier), chain)


def through_a_warm_cache(chain: Chain) -> Verdict:
    cache = CachedVerifier(chain.stage.verifier)
    first, second = _verdict(cache, chain), _verdict(cache, chain)
    assert first == second
    assert cache.stats().hits == (first[0] is Reason.ALLOWED)
    return second


def _verdict(verifier: ChainVerifier | CachedVerifier, chain: Chain) -> Verdict:
    try:
        peer = verifier.verify(chain.ders, role=chain.case.role)
    except PeerRejected as rejection:
        return rejection.reason, rejection.decision.name
    return Reason.ALLOWED, str(peer.spiffe_id)


def through_the_door(chain: Chain) -> Verdict:
    expect = None if chain.case.role == "client" else tuple(map(PeerPattern.parse, EVERYBODY))
    with contextlib.suppress(PeerRejected):
        chain.stage.mesh.admit(chain.ders, expect=expect)
    return _told(chain)


def _told(chain: Chain) -> Verdict:
    event = chain.stage.heard.next()
    decision = event.decision
    assert event.role == chain.case.role
    reason = Reason.ALLOWED if decision.reason is Reason.EXPECTED else decision.reason
    return reason, decision.name


def through_a_handshake(kind: str) -> Path:
    def path(chain: Chain) -> Verdict:
        service = chain.stage.services[kind]
        return _knocked(chain, service, stranger(chain.issued), None)[0]

    return path


def through_tls12(kind: str) -> Path:
    def path(chain: Chain) -> Verdict:
        service = chain.stage.older_services[kind]
        return _knocked(chain, service, tls12(stranger(chain.issued)), None)[0]

    return path


def through_pyopenssl(newest: ssl.TLSVersion) -> Path:
    def path(chain: Chain) -> Verdict:
        client, before = stranger(chain.issued), len(chain.stage.openssl.seen)
        client.maximum_version = newest
        admitted = chain.case.reason is Reason.ALLOWED
        visit = knock(chain.stage.openssl.port, client, hello=HELLO)
        verdict = _told(chain)
        assert visit.answer == (f"{chain.case.claims}\n".encode() if admitted else b"")
        assert chain.stage.openssl.seen[before:] == ([HELLO] if admitted else [])
        return verdict

    return path


def to_our_pyopenssl_client(chain: Chain) -> Verdict:
    context = chain.stage.mesh.openssl_context(server_side=False, expect=EVERYBODY)
    with presenting_server(chain.issued) as port:
        greeting = greet_openssl(port, context)
    verdict = _told(chain)
    assert greeting == (HELLO if verdict[0] is Reason.ALLOWED else b"")
    return verdict


def through_a_resumed_handshake(kind: str) -> Path:
    def path(chain: Chain) -> Verdict:
        service, client = chain.stage.services[kind], stranger(chain.issued)
        first, session = _knocked(chain, service, client, None)
        # A refused client may hold a session all the same: tickets are sent before the decision.
        second, _ = _knocked(chain, service, client, session)
        assert first == second
        return second

    return path


def _knocked(
    chain: Chain, service: Service, client: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[Verdict, ssl.SSLSession | None]:
    before = len(service.seen)
    admitted = chain.case.reason is Reason.ALLOWED
    # A client that will be refused sends nothing, so that no reset can overtake the tickets.
    visit = knock(service.port, client, session=session, hello=HELLO if admitted else b"")
    verdict = _told(chain)
    assert visit.answer == (f"{chain.case.claims}\n".encode() if admitted else b"")
    assert service.seen[before:] == ([HELLO] if admitted else [])
    assert visit.resumed == (session is not None and session.has_ticket)
    if service not in chain.stage.older_services.values():
        assert admitted <= (visit.session is not None and visit.session.has_ticket)
    return verdict, visit.session


def to_our_client(
    greet: Callable[[int, ssl.SSLContext], bytes], newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> Path:
    def path(chain: Chain) -> Verdict:
        context = chain.stage.mesh.client_context(EVERYBODY, minimum_version=TLS12)
        with presenting_server(chain.issued, newest) as port:
            greeting = greet(port, context)
        verdict = _told(chain)
        assert greeting == (HELLO if verdict[0] is Reason.ALLOWED else b"")
        return verdict

    return path


OFFLINE: dict[str, Path] = {
    "the verifier": through_the_verifier,
    "a cold cache": through_a_cold_cache,
    "a warm cache": through_a_warm_cache,
    "the door": through_the_door,
}
LIVE: dict[str, dict[str, Path]] = {
    "client": {
        **{f"a handshake, {kind}": through_a_handshake(kind) for kind in SERVERS},
        **{f"a handshake of TLS 1.2, {kind}": through_tls12(kind) for kind in OLDER},
        **{f"a resumed handshake, {kind}": through_a_resumed_handshake(kind) for kind in SERVERS},
        "pyOpenSSL": through_pyopenssl(ssl.TLSVersion.TLSv1_3),
        "pyOpenSSL with TLS 1.2": through_pyopenssl(TLS12),
    },
    "server": {
        "our client, asyncio": to_our_client(greet_asyncio),
        "our client, blocking": to_our_client(greet_blocking),
        "our client, pyOpenSSL": to_our_pyopenssl_client,
    },
}
OLDER_SERVER = {
    "our client with TLS 1.2, asyncio": to_our_client(greet_asyncio, TLS12),
    "our client with TLS 1.2, blocking": to_our_client(greet_blocking, TLS12),
}


def _rows() -> Iterator[object]:
    for case in CASES:
        for name, path in {**OFFLINE, **(LIVE[case.role] if case.wire else {})}.items():
            yield pytest.param(case, path, id=f"{case.name}, through {name}")


@pytest.mark.parametrize(("case", "path"), list(_rows()))
def test_each_chain_gets_the_same_verdict_for_the_same_reason(
    case: Case, path: Path, chain_of: Callable[[Case], Chain]
) -> None:
    assert path(chain_of(case)) == (case.reason, case.claims)


def _server_rows() -> Iterator[object]:
    for case in CASES:
        older = {} if case.needs_tls13 else OLDER_SERVER
        for name, path in {**LIVE["server"], **older}.items():
            if case.wire:
                yield pytest.param(case, path, id=f"{case.name}, through {name}")


@pytest.mark.parametrize(("case", "path"), list(_server_rows()))
def test_a_server_with_the_chain_of_a_client_is_judged_as_the_verifier_judges_it(
    case: Case, path: Path, chain_of: Callable[[Case], Chain]
) -> None:
    chain = attrs.evolve(chain_of(case), case=attrs.evolve(case, role="server"))
    assert path(chain) == through_the_verifier(chain)
