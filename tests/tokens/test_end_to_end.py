"""A service as it is run: a policy file that it follows, providers over HTTPS, clients with both proofs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import httpx
import pytest
from fastapi import FastAPI, Request

from meshid import AuditEvent, BundleSet, Mesh, Reason
from meshid.http import ASGIMiddleware
from meshid.sources import CredentialFiles, PolicyFile, SourceUnavailable, TrustFile
from meshid.testing import TokenIssuer, serving
from meshid.tokens import FetchedToken
from tests.helpers.issuers import roots_in
from tests.helpers.mounted import eventually
from tests.helpers.oidc_provider import OidcProvider, oidc_provider
from tests.helpers.provider_table import PROVIDERS
from tests.helpers.provider_tokens import NOW, PATH, PROD, Provider, authority, leaf_of
from tests.helpers.volumes import KubernetesVolume, pair

api = FastAPI()


@api.post("/v1/refunds")
async def refund(request: Request) -> dict[str, str | None]:
    peer = request.scope["meshid.peer"]
    return {"peer": peer.spiffe_id.path, "token": None if peer.token is None else peer.token.principal}


class Running:
    """The service ``payments``: it follows its files, and goes by a clock that a test moves."""

    def __init__(self, root: Path, provider: OidcProvider, policy: str, bundle: bytes) -> None:
        self.root = root
        self.provider = provider
        self.now = float(NOW)
        self.events: list[AuditEvent] = []
        self.policy = root / "policy.toml"
        self.policy.write_text(policy)
        (root / "bundle.json").write_bytes(bundle)
        KubernetesVolume(root / "tls", pair(leaf_of("/ns/payments/sa/server")))
        sources = [
            CredentialFiles(root / "tls"),
            TrustFile(PROD, root / "bundle.json"),
            PolicyFile(self.policy, "prod"),
        ]
        self.mesh = Mesh.from_sources(
            sources, service="payments", audit=self.events.append, clock=lambda: self.now
        )
        self.url = ""

    def edit(self, policy: str) -> None:
        """Write the policy file, and see it in force."""
        self.policy.write_text(policy)
        self.mesh.refresh()

    def client(self, path: str = PATH) -> httpx.Client:
        """Return a client with a certificate of this name; what it sends besides is for the test."""
        mesh = Mesh(
            credentials=leaf_of(path).svid,
            bundles=BundleSet([authority().bundle()]),
            clock=lambda: self.now,
        )
        return httpx.Client(base_url=self.url, verify=mesh.client_context("/ns/payments/sa/server"))

    def reasons(self) -> list[Reason]:
        return [event.decision.reason for event in self.events]

    def keys_are_read(self) -> bool:
        return eventually(lambda: all(name in self.mesh.snapshot.keys for name in self._issuers()))

    def _issuers(self) -> list[str]:
        policy = self.mesh.snapshot.policy
        return [] if policy is None else [each.name for each in policy.issuers if each.issuer]


def running(root: Path, provider: OidcProvider, policy: str, bundle: bytes) -> Iterator[Running]:
    with ExitStack() as stack:
        service = Running(root, provider, policy, bundle)
        stack.enter_context(service.mesh)
        app = ASGIMiddleware(api, service.mesh)
        service.url = stack.enter_context(serving(app, service.mesh.server_context(http=True)))
        yield service


def sent(client: httpx.Client, token: str | None) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client.post("/v1/refunds", headers=headers)


# -- Each provider ----------------------------------------------------------------------------------


def from_provider(row: Provider, provider: OidcProvider, roots: Path) -> str:
    """Return the policy file of a row, with its keys at a provider on the loopback."""
    if row.issuer is None:
        return row.file
    without = re.sub(r"^ *jwks = .*$", "", row.file, flags=re.MULTILINE)
    profile = f'profile = "{row.profile}"'
    return without.replace(profile, f'{profile}\njwks = "{provider.keys_url}"\nroots = "{roots}"')


@pytest.fixture(scope="module")
def all_providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("service")
    svids = next(row for row in PROVIDERS if row.issuer is None)
    with oidc_provider() as provider:
        yield from running(root, provider, svids.file, next(iter(svids.bundles.values())).to_spiffe_json())


@pytest.mark.parametrize("row", PROVIDERS, ids=lambda row: row.profile)
def test_a_token_of_each_provider_counts_with_the_certificate_of_its_peer(
    row: Provider, all_providers: Running, caplog: pytest.LogCaptureFixture
) -> None:
    service = all_providers
    service.provider.tokens = row.tokens
    service.edit(from_provider(row, service.provider, roots_in(service.root, service.provider)))
    assert service.keys_are_read()
    token = FetchedToken(row.mint, clock=lambda: service.now)
    with caplog.at_level(logging.INFO, "meshid.audit"), service.client() as client:
        good = sent(client, token.get())
        assert (good.status_code, good.json()) == (200, {"peer": PATH, "token": row.principal})
        assert sent(client, None).status_code == 403
        for forgery in row.forgeries:
            refused = sent(client, row.forge(forgery))
            # What is nobody's here is no evidence, and left to the application.
            assert refused.status_code == (401 if forgery.expected else 403), forgery.why
            assert service.reasons()[-1] is (forgery.expected or Reason.NO_RULE), forgery.why
        for stranger in row.strangers:
            assert sent(client, row.mint(**stranger.claims)).status_code == 401, stranger.why
    with service.client("/ns/support/sa/desk") as another:
        stolen = sent(another, token.get())
    assert stolen.status_code in {401, 403}
    assert stolen.content == b"" or row.principal.encode() not in stolen.content
    signature = token.get().rpartition(".")[2]
    assert signature not in f"{service.events!r}{caplog.text}"


# -- What happens to one ----------------------------------------------------------------------------

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[environments.prod.issuers.okta]
profile   = "okta"
issuer    = "{provider.issuer}"
audience  = ["api://payments"]
roots     = "{roots}"
max_stale = 600
[environments.dev]
trust_domains = ["dev.example.org"]
[environments.dev.issuers.okta]
profile  = "okta"
issuer   = "https://acme.okta.com/oauth2/dev"
audience = ["api://payments"]
[[peers]]
name   = "{name}"
spiffe = ["/ns/payments/sa/api"]
okta   = ["{client}"]
[[allow]]
id       = "refunds"
from     = ["@{name}"]
to       = ["payments"]
evidence = ["x509", "token"]
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with oidc_provider("/oauth2/prod") as provider:
        provider.tokens = TokenIssuer(provider.issuer, clock=lambda: NOW)
        for each in running(
            tmp_path, provider, policy(provider, tmp_path), authority().bundle().to_spiffe_json()
        ):
            assert each.keys_are_read()
            yield each


def policy(provider: OidcProvider, root: Path, name: str = "api", client: str = "0oa1") -> str:
    return POLICY.format(provider=provider, roots=roots_in(root, provider), name=name, client=client)


def mint(provider: OidcProvider, **header: object) -> str:
    return provider.mint({"aud": "api://payments", "sub": "0oa1", "cid": "0oa1"}, **header)


def test_a_key_that_is_published_first_is_taken_without_a_refusal(service: Running) -> None:
    """While requests run on one connection, the provider changes its key, and the client its token."""
    provider, stop = service.provider, Event()
    token = FetchedToken(lambda: mint(provider), clock=lambda: service.now)

    def ask() -> set[int]:
        with service.client() as client:
            seen = set()
            while not stop.is_set():
                seen.add(sent(client, token.get()).status_code)
            return seen

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        first = token.get()
        before = provider.tokens.keys[-1]
        new = provider.rotate()
        service.mesh.refresh()
        assert eventually(lambda: len(service.mesh.snapshot.keys["okta"].keys) == 2)
        # At 80 % of its life, the next token comes, signed with the new key.
        service.now += 240
        assert eventually(lambda: token.get() != first)
        asked = len(service.events)
        assert eventually(lambda: len(service.events) > asked + 4)
        stop.set()
        assert [each.result() for each in asking] == [{200}, {200}]
    assert (before.key_id, new.key_id) == ("key-1", "key-2")


def test_a_key_that_is_not_published_first_is_fetched_for_the_first_token_with_it(service: Running) -> None:
    service.provider.rotate()
    with service.client() as client:
        assert sent(client, mint(service.provider)).status_code == 401
        assert service.reasons()[-1] is Reason.TOKEN_KEY_UNKNOWN
        assert eventually(lambda: sent(client, mint(service.provider)).status_code == 200)
        asked = service.provider.fetches
        for number in range(50):
            assert sent(client, mint(service.provider, kid=f"bogus-{number}")).status_code == 401
    assert service.provider.fetches == asked


def test_a_key_that_is_withdrawn_stops_at_the_next_refresh_on_a_connection_that_is_open(
    service: Running,
) -> None:
    withdrawn = service.provider.tokens.keys[0]
    token = mint(service.provider)
    with service.client() as client:
        assert sent(client, token).status_code == 200
        service.provider.rotate()
        service.provider.withdraw(withdrawn)
        assert sent(client, token).status_code == 200
        service.mesh.refresh()
        assert eventually(lambda: sent(client, token).status_code == 401)
        assert service.reasons()[-1] is Reason.TOKEN_KEY_UNKNOWN
        assert sent(client, mint(service.provider)).status_code == 200


def test_a_provider_that_is_down_takes_nothing_away_until_the_limit(service: Running) -> None:
    service.provider.is_down = True
    service.provider.tokens = TokenIssuer(
        service.provider.issuer,
        private_key=service.provider.tokens.keys[0].private_key,
        clock=lambda: service.now,
    )
    with service.client() as client:
        service.now += 590
        assert sent(client, mint(service.provider)).status_code == 200
        service.now += 20
        assert sent(client, mint(service.provider)).status_code == 401
        assert service.reasons()[-1] is Reason.TOKEN_KEYS_UNAVAILABLE
        service.provider.is_down = False
        service.mesh.refresh()
        assert eventually(lambda: sent(client, mint(service.provider)).status_code == 200)


def test_an_edit_of_the_policy_renames_the_peer_or_takes_its_token_away(service: Running) -> None:
    token = mint(service.provider)
    with service.client() as client:
        assert sent(client, token).status_code == 200
        assert service.events[-1].decision.peer_name == "api"
        service.edit(policy(service.provider, service.root, name="refunder"))
        assert sent(client, token).status_code == 200
        assert service.events[-1].decision.peer_name == "refunder"
        service.edit(policy(service.provider, service.root, client="0oa2"))
        assert sent(client, token).status_code == 401
        assert service.reasons()[-1] is Reason.TOKEN_DISAGREES
        # A file that lets the issuer of dev speak in prod is not put in force.
        crossing = policy(service.provider, service.root).replace(
            "https://acme.okta.com/oauth2/dev", service.provider.issuer
        )
        with pytest.raises(SourceUnavailable, match="issuer"):
            service.edit(crossing)
        assert sent(client, token).status_code == 401


def test_what_dev_issues_names_nobody_in_prod(service: Running) -> None:
    dev = TokenIssuer("https://acme.okta.com/oauth2/dev", clock=lambda: NOW)
    claims = {"aud": "api://payments", "sub": "0oa1", "cid": "0oa1"}
    with service.client() as client:
        assert sent(client, dev.mint(claims)).status_code == 403
        assert service.reasons()[-1] is Reason.NO_RULE
        claiming = dev.mint({**claims, "iss": service.provider.issuer})
        assert sent(client, claiming).status_code == 401
        assert service.reasons()[-1] is Reason.TOKEN_SIGNATURE
