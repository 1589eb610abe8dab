"""Keys from a provider: discovered or not, as long as they count, and refused from anybody else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshid.errors import InvalidKeySet, MeshidError, SourceUnavailable
from meshid.sources import Source
from meshid.sources.files import consistent_read
from meshid.sources.token_keys import issuer_keys
from meshid.sources.token_keys.issuer_keys import MAX_ANSWER_BYTES, IssuerKeys
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet
from tests.helpers.endpoints import SHORT, Answer, bounded, cutting, http, moved, responding
from tests.helpers.issuers import OKTA, issuer_of
from tests.helpers.oidc_provider import (
    DISCOVERY,
    KEYS,
    OidcProvider,
    dripping,
    hanging,
    keys,
    oidc_provider,
    status,
)
from tests.helpers.tls_peers import TIMEOUT
from tests.helpers.world import Clock

DAY = 86400
BEARER = "the-token-of-our-own-service-account"


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with oidc_provider("/oauth2/default") as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    """A provider that behaves, and was asked nothing yet."""
    running.answers.clear()
    running.requests.clear()
    running.cache_control, running.is_down = None, False
    running.arrived.clear()
    running.tokens = TokenIssuer(running.issuer)
    return running


@pytest.fixture
def reading(
    provider: OidcProvider, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., IssuerKeys]:
    """Make a source of the provider's keys."""
    monkeypatch.setattr(consistent_read, "SETTLING_SECONDS", 0.002)

    def make(**members: object) -> IssuerKeys:
        return IssuerKeys(issuer_of(provider, tmp_path, **members), clock)

    return make


def keys_read(source: Source) -> KeySet:
    (key_set,) = source.read().keys
    return key_set


def ids(key_set: KeySet) -> list[str | None]:
    return [key.key_id for key in key_set.keys]


class TestGood:
    def test_keys_are_where_discovery_leads(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], clock: Clock
    ) -> None:
        source: Source = reading()
        key_set = keys_read(source)
        assert key_set == KeySet.from_json(OKTA, provider.tokens.jwks(), serve_until=clock() + DAY)
        assert (provider.count(DISCOVERY), provider.fetches) == (1, 1)
        assert source.name == f"keys of issuer 'okta' {provider.issuer!r}"
        assert (source.is_required, source.is_stream) == (False, False)

    def test_or_where_the_policy_says(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys]
    ) -> None:
        source = reading(jwks=provider.keys_url)
        assert ids(keys_read(source)) == ["key-1"]
        assert (provider.count(DISCOVERY), provider.fetches) == (0, 1)
        assert source.name == f"keys of issuer 'okta' {provider.keys_url!r}"

    def test_an_issuer_that_ends_with_a_slash_has_its_document_after_one(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys]
    ) -> None:
        """OpenID Connect Discovery section 4: any terminating / MUST be removed."""
        provider.answers[DISCOVERY] = responding(http(provider.discovery(issuer=f"{provider.issuer}/")))
        assert ids(keys_read(reading(issuer=f"{provider.issuer}/"))) == ["key-1"]

    def test_a_new_key_is_there_and_a_withdrawn_one_is_gone_with_the_next_read(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys]
    ) -> None:
        source, (first,) = reading(), provider.tokens.keys
        keys_read(source)
        provider.rotate()
        assert ids(keys_read(source)) == ["key-1", "key-2"]
        provider.withdraw(first)
        assert ids(keys_read(source)) == ["key-2"]

    def test_only_pinned_keys_count(self, provider: OidcProvider, reading: Callable[..., IssuerKeys]) -> None:
        (first,) = keys_read(reading()).keys
        provider.rotate()
        state = reading(pinned_keys=(first.thumbprint,)).read()
        assert state.keys[0].keys == (first,)
        assert state.warnings == ("skipped key 'key-2': it is not one of the pinned keys",)

    def test_each_good_read_lets_the_keys_count_for_longer(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], clock: Clock
    ) -> None:
        source, begun = reading(max_stale=600), clock()
        assert keys_read(source).serve_until == begun + 600
        clock.now += timedelta(seconds=90)
        assert keys_read(source).serve_until == begun + 690
        provider.is_down = True
        with pytest.raises(SourceUnavailable, match="reset"):
            source.read()

    @pytest.mark.parametrize(
        ("header", "pause"),
        [
            (None, 300),
            ("max-age=600", 600),
            ("public, Max-Age=600, must-revalidate", 600),
            ('max-age="900"', 900),
            ("max-age=1", 60),
            ("no-store, max-age=0", 60),
            (f"max-age={DAY}", 3600),
            (f"max-age={10**30}", 3600),
            ("no-cache", 300),
            ("max-age=-5", 300),
            ("max-age=6e9", 300),
            ("s-maxage=900", 300),
            ("x-max-age=900", 300),
        ],
        ids=str,
    )
    def test_the_provider_says_when_to_ask_again(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], header: str | None, pause: int
    ) -> None:
        provider.cache_control = header
        source = reading(jwks=provider.keys_url)
        source.read()
        pauses = [source.pause() for _ in range(20)]
        assert 0.9 * pause <= min(pauses) < max(pauses) <= 1.1 * pause

    def test_after_a_failure_it_asks_again_in_a_minute(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys]
    ) -> None:
        source = reading()
        provider.cache_control = "max-age=3600"
        source.read()
        provider.answers[DISCOVERY] = status("503 Service Unavailable")
        with pytest.raises(SourceUnavailable, match="it answers with status 503; only 200 counts"):
            source.read()
        assert 54 <= source.pause() <= 66


def with_members(provider: OidcProvider, **members: object) -> Answer:
    return responding(http(provider.discovery(**members)))


def discovery_says(provider: OidcProvider, data: bytes) -> None:
    provider.answers[DISCOVERY] = responding(http(data))


def twice(provider: OidcProvider) -> bytes:
    return provider.discovery().replace(b"{", b'{"issuer": "https://evil.example", ', 1)


BAD_DISCOVERY: dict[str, tuple[Callable[[OidcProvider], Answer], str]] = {
    "another issuer": (
        lambda p: with_members(p, issuer="https://evil.example"),
        "its issuer is 'https://evil",
    ),
    "a slash more": (lambda p: with_members(p, issuer=f"{p.issuer}/"), "byte for byte"),
    "no issuer": (lambda p: with_members(p, issuer=None), "its issuer is no string (NoneType)"),
    "an issuer in a list": (lambda p: with_members(p, issuer=[p.issuer]), "its issuer is no string (list)"),
    "a huge issuer": (lambda p: with_members(p, issuer="x" * 9999), "(9999 characters)"),
    "keys by http": (
        lambda p: with_members(p, jwks_uri=f"http://localhost:{p.port}/keys"),
        "only an https URL of the same origin is believed; if it is right, set jwks to it",
    ),
    "keys at another host": (
        lambda p: with_members(p, jwks_uri=f"https://127.0.0.1:{p.port}/keys"),
        "only an https URL of the same origin is believed",
    ),
    "keys at another port": (
        lambda p: with_members(p, jwks_uri="https://localhost/keys"),
        "only an https URL of the same origin is believed",
    ),
    "keys in a file": (
        lambda p: with_members(p, jwks_uri="file:///etc/keys"),
        "'file:///etc/keys', and",
    ),
    "no keys": (lambda p: with_members(p, jwks_uri=None), "its jwks_uri is no string (NoneType)"),
    "a list": (lambda _: responding(http(b"[]")), "it is not a JSON object"),
    "no JSON": (lambda _: responding(http(b"<html>")), "it is not JSON"),
    "two issuers": (lambda p: responding(http(twice(p))), "a member occurs twice"),
    "moved": (lambda _: responding(moved("https://evil.example/")), "redirects are refused: set jwks to"),
    "not found": (lambda _: status("404 Not Found"), "it answers with status 404; only 200 counts"),
}

MANY = [key.jwk() for key in TokenIssuer().keys for _ in range(101)]
TWO = TokenIssuer()
TWO.new_key(key_id="key-1")

BAD_KEYS: dict[str, tuple[Answer, str]] = {
    "moved": (responding(moved("/elsewhere")), "it redirects to '/elsewhere', and redirects are refused"),
    "no content": (status("204 No Content"), "it answers with status 204; only 200 counts"),
    "an error": (status("500 Internal Server Error"), "it answers with status 500; only 200 counts"),
    "no JSON": (keys(b"<html>"), "it is not JSON"),
    "twice": (keys(b'{"keys": [], "keys": []}'), "a member occurs twice"),
    "no object": (keys(b"[]"), "keys"),
    "101 keys": (keys(json.dumps({"keys": MANY}).encode()), "101"),
    "one kid for two keys": (keys(TWO.jwks()), "different keys have the same kid"),
    "cut off": (cutting(http(b"{", "Content-Length: 100")), "EOF"),
    "shorter than it says": (responding(http(b"{", "Content-Length: 100")), "99 bytes of it are missing"),
    "too long": (keys(b" " * MAX_ANSWER_BYTES), f"it sends more than {MAX_ANSWER_BYTES} bytes"),
}


class TestBad:
    @pytest.mark.parametrize("what", BAD_DISCOVERY)
    def test_a_discovery_document_that_is_wrong_leads_nowhere(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], what: str
    ) -> None:
        make, why = BAD_DISCOVERY[what]
        provider.answers[DISCOVERY] = make(provider)
        source = reading()
        with pytest.raises(SourceUnavailable) as error:
            source.read()
        assert str(error.value).startswith(f"{source.name}: ")
        assert why in str(error.value)
        assert len(str(error.value)) < 1000
        assert provider.fetches == 0

    @pytest.mark.parametrize("what", BAD_KEYS)
    def test_keys_that_are_wrong_are_one_error(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], what: str
    ) -> None:
        provider.answers[KEYS], why = BAD_KEYS[what]
        source = reading()
        with pytest.raises((SourceUnavailable, InvalidKeySet)) as error:
            source.read()
        assert str(error.value).startswith(f"{source.name}: ")
        assert why in str(error.value)
        assert 54 <= source.pause() <= 66

    def test_another_server_is_not_believed(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], tmp_path: Path
    ) -> None:
        other = tmp_path / "other.pem"
        other.write_bytes(CA("other.example").pem)
        with pytest.raises(SourceUnavailable, match="it is not the right server"):
            reading(roots=str(other)).read()
        with pytest.raises(SourceUnavailable, match="it is not the right server"):
            reading(roots=None).read()
        assert provider.requests == []

    @pytest.mark.parametrize("stalls", [hanging, dripping], ids=["hanging", "dripping"])
    @pytest.mark.parametrize("where", [DISCOVERY, KEYS])
    def test_a_read_has_one_deadline(
        self,
        provider: OidcProvider,
        reading: Callable[..., IssuerKeys],
        monkeypatch: pytest.MonkeyPatch,
        stalls: Answer,
        where: str,
    ) -> None:
        monkeypatch.setattr(issuer_keys, "READ_SECONDS", SHORT)
        provider.answers[where] = stalls
        with bounded(SHORT * 4), pytest.raises(SourceUnavailable, match="did not answer in time"):
            reading().read()

    def test_who_closes_it_ends_a_read_that_waits(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys]
    ) -> None:
        provider.answers[KEYS] = hanging
        source, raised = reading(jwks=provider.keys_url), list[MeshidError]()

        def read() -> None:
            with pytest.raises(SourceUnavailable) as error:
                source.read()
            raised.append(error.value)

        thread = threading.Thread(target=read)
        thread.start()
        assert provider.arrived.wait(TIMEOUT)
        source.close()
        thread.join(TIMEOUT)
        assert [str(each) for each in raised] == [f"{source.name}: it was closed"]

    @pytest.mark.parametrize("jwks", ["http://localhost/keys", "keys.json", ""])
    def test_what_cannot_be_asked_is_an_error_of_this_source(
        self, reading: Callable[..., IssuerKeys], jwks: str
    ) -> None:
        with pytest.raises(SourceUnavailable, match=r"^keys of issuer 'okta' .*: "):
            reading(jwks=jwks).read()


class TestFiles:
    """The authorities and the token of a Kubernetes cluster, which the kubelet renews."""

    def test_the_token_is_sent_to_discovery_and_to_the_keys(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], tmp_path: Path
    ) -> None:
        bearer = tmp_path / "token"
        bearer.write_text(f"{BEARER}\n")
        source = reading(bearer_file=str(bearer))
        source.read()
        bearer.write_text("a-newer-one")
        source.read()
        sent = [line for request in provider.requests for line in request.split(b"\r\n") if b"Auth" in line]
        assert (
            sent
            == [f"Authorization: Bearer {BEARER}".encode()] * 2 + [b"Authorization: Bearer a-newer-one"] * 2
        )

    def test_it_is_sent_nowhere_else(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text(BEARER)
        with oidc_provider() as other:
            source = reading(bearer_file=str(tmp_path / "token"))
            for answer in (
                responding(moved(other.keys_url)),
                with_members(provider, jwks_uri=other.keys_url),
            ):
                provider.answers[DISCOVERY] = answer
                with pytest.raises(SourceUnavailable) as error:
                    source.read()
                assert BEARER not in str(error.value)
            assert other.requests == []

    @pytest.mark.parametrize(
        "content",
        [
            f"{BEARER}\r\nHost: evil",
            f"two {BEARER}",
            "t\xf6ken" + BEARER,
            "x" * 16385 + BEARER,
            f"{BEARER}=a",
            "=",
        ],
        ids=["lines", "words", "no ASCII", "long", "padding", "empty"],
    )
    def test_what_is_no_token_is_not_sent_and_not_shown(
        self, provider: OidcProvider, reading: Callable[..., IssuerKeys], tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "token").write_text(content)
        with pytest.raises(SourceUnavailable, match=r"bearer_file .*: it has no token in it") as error:
            reading(bearer_file=str(tmp_path / "token")).read()
        assert BEARER not in str(error.value)
        assert provider.requests == []

    @pytest.mark.parametrize("what", ["roots", "bearer_file"])
    def test_a_file_that_is_not_there_is_an_error_of_this_source(
        self, reading: Callable[..., IssuerKeys], tmp_path: Path, what: str
    ) -> None:
        with pytest.raises(
            SourceUnavailable, match=r"^keys of issuer 'okta' .*gone' cannot be read: No such"
        ):
            reading(**{what: str(tmp_path / "gone")}).read()

    def test_roots_that_are_none_are_an_error_of_this_source(
        self, reading: Callable[..., IssuerKeys], tmp_path: Path
    ) -> None:
        (tmp_path / "roots").write_text("none")
        with pytest.raises(
            SourceUnavailable, match=r"^keys of issuer 'okta' .*/roots': .*no PEM certificate"
        ):
            reading(roots=str(tmp_path / "roots")).read()
