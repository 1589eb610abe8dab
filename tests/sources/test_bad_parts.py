"""Every kind of bad part, beside every kind of removal: what is taken away is gone, and comes back up."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography import x509

from meshid import Mesh, PeerRejected, Reason
from meshid.sources import BundleEndpoint, BundleMapFile, Source, SourceUnavailable, TrustFile, WorkloadApi
from meshid.testing import CA, Issued, TokenIssuer
from tests.helpers.endpoints import Endpoint, cutting, http, responding, serving
from tests.helpers.forged import GENERALIZED_TIME, der, rewritten
from tests.helpers.mounted import OWN, Mounted, eventually, hurry
from tests.helpers.tls_peers import POLICY, Service, asyncio_server, stranger
from tests.helpers.volumes import pair
from tests.helpers.workload_agent import Agent, authorities, message
from tests.sources.test_removal import ended_at, line, put

SECONDS = 2.0
"""Within which what is taken away is gone."""

RULES = """
[[allow]]
id = "partners"
from = ["spiffe://dev.example.org/**", "spiffe://cluster.local/**"]
to = ["payments"]
"""
ISSUERS = """
[environments.prod.issuers.ci]
profile = "oidc"
issuer = "https://ci.example"
audience = ["payments"]
jwks = "{root}/ci.json"
[environments.prod.issuers.okta]
profile = "oidc"
issuer = "https://okta.example"
audience = ["payments"]
jwks = "{root}/okta.json"
"""
TEMPORARY = """
[[allow]]
id = "temporary"
from = ["/ns/temporary/**"]
to = ["payments"]
"""
PAST = datetime.now(UTC) - timedelta(hours=1)

MAIN, LEAVING, LISTING = (
    CA("prod.example.org", subject=f"CN={name}") for name in ("main", "leaving", "listing")
)
PARTNER, BAD, SERVED = CA("dev.example.org"), CA("corp.example"), CA("cluster.local")
SERVER = SERVED.issue("/bundle/server")


@attrs.define
class Scene:
    """A service whose parts come from everywhere: files, a bundle endpoint and an agent.

    Attributes:
        mounted: Its files.
        endpoint: Serves the bundle of one partner.
        agent: Delivers its own certificate and bundle, in place of files, if there is one.
        more: Further sources.
    """

    mounted: Mounted
    endpoint: Endpoint
    agent: Agent | None = None
    more: list[Source] = attrs.field(factory=list)
    partners: dict[str, object] = attrs.field(factory=dict)
    trusted: list[CA] = attrs.field(factory=lambda: [MAIN, LEAVING, LISTING])

    def sources(self) -> list[Source]:
        served = BundleEndpoint.https_spiffe(
            "cluster.local",
            self.endpoint.url(),
            spiffe_id="spiffe://cluster.local/bundle/server",
            bundle=SERVED.bundle(),
        )
        own, trust, *others = self.mounted.sources()
        delivering = [own, trust] if self.agent is None else [WorkloadApi(self.agent.address)]
        return [*delivering, *others, BundleMapFile(self.mounted.root / "map.json"), served, *self.more]

    @property
    def policy(self) -> str:
        """The policy, without the rule that is removed."""
        return POLICY + RULES + ISSUERS.format(root=self.mounted.root)

    def write_map(self, **partners: object) -> None:
        """Write the bundle map, in which some partners change."""
        self.partners |= {name.replace("_", "."): document for name, document in partners.items()}
        kept = {name: document for name, document in self.partners.items() if document is not None}
        put(self.mounted.root / "map.json", json.dumps({"trust_domains": kept}))

    def trust(self, *trusted: CA, **federated: bytes) -> None:
        """Change our own bundle."""
        self.trusted = [*trusted]
        put(self.mounted.trust, b"".join(each.pem for each in trusted))
        self.send(**federated)

    def send(self, **more: Any) -> None:  # noqa: ANN401 - as `message`
        """Have the agent send everything again."""
        if self.agent is not None:
            bundle = b"".join(authorities(each.bundle()) for each in self.trusted)
            self.agent.send(message(MAIN, MAIN.issue(OWN), **{"bundle": bundle, **more}))


def document(authority: CA) -> object:
    return json.loads(authority.bundle().to_spiffe_json())


def year_0() -> object:
    """Return the bundle of an authority that begins in the year 0, which Python cannot tell."""
    authority = CA(
        "corp.example", not_before=datetime(2050, 1, 1, tzinfo=UTC), not_after=PAST + timedelta(days=9**5)
    )
    dates = [der(GENERALIZED_TIME, year + b"0101000000Z") for year in (b"2050", b"0000")]
    certificate = rewritten(authority.certificate, authority, *dates)
    bundle: Any = document(authority)
    bundle["keys"][0]["x5c"] = [base64.b64encode(certificate).decode()]
    return bundle


def again(scene: Scene) -> None:
    """Name a second source of the bundle of a partner."""
    scene.more.append(TrustFile("corp.example", scene.mounted.root / "again.pem"))


# -- What can be bad ----------------------------------------------------------


def file(name: str, content: Callable[[], bytes | str]) -> Callable[[Scene], None]:
    return lambda scene: put(scene.mounted.root / name, content())


def in_map(bundle: Callable[[], object]) -> Callable[[Scene], None]:
    return lambda scene: scene.write_map(corp_example=bundle())


def expired_credentials(scene: Scene) -> None:
    late = MAIN.issue(OWN, not_before=PAST - timedelta(hours=1), not_after=PAST)
    scene.mounted.secret.swap(pair(late))


def scoped() -> bytes:
    point = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}),
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    return MAIN.crl(extra=[(point, True)])


def endpoint_down(scene: Scene) -> None:
    scene.endpoint.answer = cutting(b"")


@attrs.frozen
class Bad:
    """A kind of bad part.

    Attributes:
        spoil: Makes it bad.
        alarm: What is then said.
        but: The kinds of removal that need this part.
        outage: What a restart says, if it is a part that is ours.
        has_agent: Whether there is an agent.
    """

    spoil: Callable[[Scene], None]
    alarm: str
    but: str = ""
    outage: str = ""
    has_agent: bool = False


def send(**more: Callable[[], Any]) -> Callable[[Scene], None]:
    return lambda scene: scene.send(**{name: value() for name, value in more.items()})


def twice_named() -> bytes:
    issuer = TokenIssuer()
    issuer.new_key(key_id=issuer.keys[0].key_id)
    return issuer.jwks()


OLDER = CA("prod.example.org", subject="CN=older")
BADS = {
    "an expired bundle of a partner": Bad(
        in_map(lambda: document(CA("corp.example", not_after=PAST))), "no authority in it is in date"
    ),
    "a bundle of a partner in year 0": Bad(in_map(year_0), "corp.example"),
    "garbage for the bundle of a partner": Bad(
        in_map(lambda: {"keys": "x"}), "bundle of corp.example: it must be"
    ),
    "a partner with a name that is none": Bad(
        lambda scene: scene.write_map(Corp={"keys": []}), "trust domain 'Corp' may hold only"
    ),
    "a bundle of a partner from two sources": Bad(
        file("again.pem", lambda: BAD.pem), "the bundle of corp.example comes from"
    ),
    "a second source of a partner that is garbage": Bad(file("again.pem", lambda: b"x"), "holds no PEM"),
    "a bundle map that is cut off": Bad(file("map.json", lambda: "{"), "it is not JSON", but="domain"),
    "an endpoint that is down": Bad(endpoint_down, "EOF occurred"),
    "an endpoint that serves garbage": Bad(
        lambda scene: setattr(scene.endpoint, "answer", responding(http(b"{"))), "it is not JSON"
    ),
    "our own certificate, expired": Bad(
        expired_credentials, "own certificate: valid from", outage="own certificate: valid from"
    ),
    "our own key, of another certificate": Bad(
        lambda scene: scene.mounted.secret.swap(pair(MAIN.issue(OWN)) | {"tls.key": MAIN.issue(OWN).key_pem}),
        "the private key is not that of",
        outage="the private key is not that of",
    ),
    "our own bundle, cut off": Bad(
        file("ca.pem", lambda: MAIN.pem[:99]),
        "bundle of prod.example.org",
        "authority",
        "bundle of prod.example.org",
    ),
    "a policy with a typo": Bad(
        file("policy.toml", lambda: POLICY.replace("from =", "form =", 1)),
        "did you mean 'from'?",
        "rule",
        "did you mean 'from'?",
    ),
    "a deny list with a typo": Bad(
        file("deny.toml", lambda: "version = 1\n[[deny]]\npeers = 'x'\n"),
        "did you mean 'peer'?",
        "peer",
        "peer",
    ),
    "a deny list that is gone": Bad(
        lambda scene: scene.mounted.deny.unlink(),
        "No such file or directory",
        "peer",
        "No such file or directory",
    ),
    "a README among the revocation lists": Bad(
        file("crls/README", lambda: "# Lists\n"), "is no revocation list"
    ),
    "a revocation list that is cut off": Bad(file("crls/main.crl", lambda: MAIN.crl()[:99]), "main.crl"),
    "a revocation list that is older": Bad(
        file("crls/older.crl", lambda: OLDER.crl(last_update=PAST)), "is older than the one in force"
    ),
    "a delta of a revocation list": Bad(
        file("crls/main.crl", lambda: MAIN.crl(extra=[(x509.DeltaCRLIndicator(1), True)])), "main.crl"
    ),
    "a revocation list for some reasons": Bad(file("crls/main.crl", scoped), "main.crl"),
    "revocation lists that are gone": Bad(
        lambda scene: (scene.mounted.crls / "older.crl").unlink(), "is gone, and stays in force until"
    ),
    "keys of an issuer that are garbage": Bad(file("okta.json", lambda: "<html>"), "keys of issuer 'okta'"),
    "keys of an issuer that are gone": Bad(
        lambda scene: (scene.mounted.root / "okta.json").unlink(), "okta.json' cannot be read: No such file"
    ),
    "two keys of an issuer with one name": Bad(
        file("okta.json", twice_named), "different keys have the same kid"
    ),
    "an agent that sends garbage": Bad(
        lambda scene: scene.agent.send(b"garbage"),  # type: ignore[union-attr]
        "the response cannot be decoded",
        has_agent=True,
    ),
    "an agent with garbage for a partner": Bad(
        send(federated=lambda: {"spiffe://corp.example": b"x"}),
        "bundle of corp.example: ",
        has_agent=True,
    ),
}


# -- What can be removed ------------------------------------------------------


def revoke(scene: Scene) -> None:
    put(scene.mounted.crls / "listing.crl", LISTING.crl(LEAVERS["list"]))


LEAVERS = {
    "authority": LEAVING.issue("/ns/shop/sa/authority"),
    "domain": PARTNER.issue("/ns/shop/sa/partner"),
    "served": SERVED.issue("/ns/shop/sa/served"),
    "peer": MAIN.issue("/ns/shop/sa/denied"),
    "list": LISTING.issue("/ns/shop/sa/listed"),
    "rule": MAIN.issue("/ns/temporary/sa/x"),
}
STAYING = MAIN.issue("/ns/shop/sa/staying")

REMOVALS: dict[str, tuple[Callable[[Scene], None], Reason]] = {
    "authority": (lambda scene: scene.trust(MAIN, LISTING), Reason.UNKNOWN_AUTHORITY),
    "domain": (lambda scene: scene.write_map(dev_example_org=None), Reason.UNKNOWN_TRUST_DOMAIN),
    "served": (
        lambda scene: setattr(scene.endpoint, "answer", responding(http(json.dumps({"keys": []}).encode()))),
        Reason.UNKNOWN_AUTHORITY,
    ),
    "peer": (
        lambda scene: put(
            scene.mounted.deny,
            "version = 1\n[[deny]]\npeer = 'spiffe://prod.example.org/ns/shop/sa/denied'\n",
        ),
        Reason.DENY_LISTED,
    ),
    "list": (revoke, Reason.REVOKED),
    "rule": (lambda scene: put(scene.mounted.policy, scene.policy), Reason.NO_RULE),
}


@contextlib.contextmanager
def scene_in(root: Path, bad: Bad) -> Iterator[Scene]:
    mounted = Mounted(root, MAIN)
    (mounted.crls / "older.crl").write_bytes(OLDER.crl())
    agent = Agent(root / "agent.sock") if bad.has_agent else None
    with serving(SERVER, json.dumps(document(SERVED)).encode()) as endpoint, contextlib.ExitStack() as stack:
        scene = Scene(mounted, endpoint, agent)
        mounted.policy.write_text(scene.policy + TEMPORARY)
        for name in ("ci", "okta"):
            (root / f"{name}.json").write_bytes(TokenIssuer().jwks())
        if agent is not None:
            stack.callback(agent.stop)
        scene.trust(MAIN, LEAVING, LISTING, OLDER)
        scene.write_map(dev_example_org=document(PARTNER), corp_example=document(BAD))
        yield scene


@pytest.mark.parametrize("bad", BADS.values(), ids=BADS)
def test_what_is_taken_away_is_gone_beside(bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(BundleEndpoint, "pause", lambda _: 0.02)
    with scene_in(tmp_path, bad) as scene:
        again(scene)
        with Mesh.from_sources(scene.sources(), service="payments") as mesh:
            assert eventually(lambda: len(mesh.snapshot.bundles) == 4 and len(mesh.snapshot.keys) == 2)
            with asyncio_server(mesh.server_context()) as service:
                check_removals(scene, mesh, service, bad)
        check_restart(scene, bad)


def check_removals(scene: Scene, mesh: Mesh, service: Service, bad: Bad) -> None:
    bad.spoil(scene)
    assert eventually(lambda: any(bad.alarm in str(alarm) for alarm in mesh.health().alarms)), mesh.health()
    with line(service.port, stranger(STAYING)) as staying:
        for name, (remove, reason) in REMOVALS.items():
            if name in bad.but:
                continue
            leaver = LEAVERS[name]
            with line(service.port, stranger(leaver)) as leaving:
                remove(scene)
                removed = time.monotonic()
                assert ended_at(leaving) - removed < SECONDS, name
            assert refusal_of(mesh, leaver) is reason
        put(scene.mounted.root / "ci.json", '{"keys": []}')
        assert eventually(lambda: mesh.snapshot.keys["ci"].keys == (), SECONDS)
        staying.sendall(b"still here\n")
        assert staying.recv(1024)
    mesh.admit(STAYING.chain)


def refusal_of(mesh: Mesh, issued: Issued) -> Reason:
    with pytest.raises(PeerRejected) as caught:
        mesh.admit(issued.chain)
    return caught.value.reason


def check_restart(scene: Scene, bad: Bad) -> None:
    """Start again beside the bad part: only what is ours can be in the way."""
    if scene.agent is not None:
        # Whatever the first mesh has left behind.
        scene.agent.stop()
        scene.agent.start()
        scene.send()
    if bad.outage:
        with pytest.raises(SourceUnavailable, match=re.escape(bad.outage)):
            Mesh.from_sources(scene.sources(), service="payments", timeout=0.5)
    else:
        with Mesh.from_sources(scene.sources(), service="payments") as mesh:
            for name in REMOVALS:
                if name not in bad.but:
                    assert refusal_of(mesh, LEAVERS[name])
