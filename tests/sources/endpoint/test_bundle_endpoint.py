"""Bundles from endpoints that behave; see test_hostile_endpoints.py for the others."""

from __future__ import annotations

import ipaddress
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from meshid.errors import InvalidBundle, InvalidPattern, InvalidSpiffeId, SourceUnavailable
from meshid.sources import Source
from meshid.sources.endpoint import bundle_endpoint as source
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.testing import CA
from tests.helpers.endpoints import (
    ENDPOINT,
    NAME,
    PARTNER,
    URL,
    Endpoint,
    bundle_of,
    bundle_read,
    document,
    http,
    responding,
    serving,
    spiffe,
)
from tests.helpers.tls_peers import HOST


class TestAsASource:
    def test_it_has_a_name_for_people_and_is_not_required(self) -> None:
        made: Source = BundleEndpoint.https_web("partner.example", URL)
        assert made.name == f"bundle endpoint of partner.example {URL!r}"
        assert not made.is_required

    def test_what_is_skipped_in_a_bundle_is_a_warning(self, endpoint: Endpoint, partner: CA) -> None:
        keys = json.loads(document(partner))["keys"]
        endpoint.answer = responding(http(json.dumps({"keys": [{"kty": "new"}, *keys]}).encode()))
        read = spiffe(endpoint, partner)
        state = read.read()
        assert state.bundles == (partner.bundle(),)
        (warning,) = state.warnings
        assert warning.startswith(f"{read.name}: skipped keys[0]: kty is 'new'")

    def test_a_request_says_what_it_wants(self, endpoint: Endpoint, partner: CA) -> None:
        bundle_read(spiffe(endpoint, partner, "/a/b?env=prod#part"))
        head, *headers = endpoint.requests[0].decode().split("\r\n")
        assert head == "GET /a/b?env=prod HTTP/1.1"
        assert {f"Host: {HOST}:{endpoint.port}", "Connection: close", "Accept: application/json"} < {*headers}

    def test_a_chunked_answer_is_read(self, endpoint: Endpoint, partner: CA) -> None:
        body = document(partner)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (body[:100], body[100:], b""))
        endpoint.answer = responding(http(chunks, "Transfer-Encoding: chunked"))
        assert bundle_read(spiffe(endpoint, partner)) == partner.bundle()

    def test_an_answer_that_ends_with_the_connection_is_read(self, endpoint: Endpoint, partner: CA) -> None:
        endpoint.answer = responding(http(document(partner), "Connection: close"))
        assert bundle_read(spiffe(endpoint, partner)) == partner.bundle()

    def test_a_long_request_waits_for_a_server_that_reads_slowly(
        self, endpoint: Endpoint, partner: CA
    ) -> None:
        path = "/" + "a" * 8_000_000
        assert bundle_read(spiffe(endpoint, partner, path)) == partner.bundle()
        assert len(endpoint.requests[0]) > len(path)


class TestWeb:
    """The server certificate MUST be validated in accordance with RFC 6125."""

    def test_the_host_of_the_url_must_be_in_the_certificate(self, partner: CA) -> None:
        web = CA("web.example")
        with serving(web.issue(uris=[], dns=["localhost"]), document(partner)) as endpoint:
            right = BundleEndpoint.https_web(PARTNER, endpoint.url(host="localhost"), roots=web.pem)
            assert bundle_read(right) == partner.bundle()
            wrong = BundleEndpoint.https_web(PARTNER, endpoint.url(), roots=web.pem)
            with pytest.raises(SourceUnavailable, match="not valid for '127"):
                wrong.read()
            assert len(endpoint.requests) == 1

    def test_an_address_is_in_the_certificate_as_one(self, partner: CA) -> None:
        web = CA("web.example")
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        with serving(web.issue(uris=[], extra=[(address, False)]), document(partner)) as endpoint:
            read = BundleEndpoint.https_web(PARTNER, endpoint.url(), roots=web.pem)
            assert bundle_read(read) == partner.bundle()

    def test_a_common_name_does_not_count(self, partner: CA) -> None:
        web = CA("web.example")
        with serving(web.issue(uris=[], subject="CN=localhost"), document(partner)) as endpoint:
            read = BundleEndpoint.https_web(PARTNER, endpoint.url(host="localhost"), roots=web.pem)
            with pytest.raises(SourceUnavailable, match="not valid for 'localhost'"):
                read.read()

    def test_the_authority_must_be_one_of_the_system(self, partner: CA) -> None:
        web = CA("web.example")
        with serving(web.issue(uris=[], dns=["localhost"]), document(partner)) as endpoint:
            read = BundleEndpoint.https_web(PARTNER, endpoint.url(host="localhost"))
            with pytest.raises(SourceUnavailable, match="it is not the right server: unable to"):
                read.read()
            assert endpoint.requests == []

    @pytest.mark.parametrize("roots", [b"", b"no pem", b"-----BEGIN CERTIFICATE-----"])
    def test_roots_that_are_not_pem_are_refused_at_once(self, roots: bytes) -> None:
        with pytest.raises(InvalidBundle, match="the roots of a web server: "):
            BundleEndpoint.https_web(PARTNER, URL, roots=roots)


PAST = datetime.now(UTC) - timedelta(hours=1)
OTHER = CA("other.example")


class TestSpiffe:
    """The server certificate is a valid X509-SVID for the bundle endpoint SPIFFE ID."""

    def test_the_bundle_is_fetched_from_the_right_workload(self, endpoint: Endpoint, partner: CA) -> None:
        assert bundle_read(spiffe(endpoint, partner)) == partner.bundle()

    @pytest.mark.parametrize(
        ("shape", "why"),
        [
            pytest.param({"uris": ["spiffe://partner.example/other"]}, f"expected: {NAME}", id="name"),
            pytest.param({"uris": [NAME, NAME + "s"]}, "URI", id="two names"),
            pytest.param({"uris": [], "dns": ["localhost"]}, "no URI SAN", id="a web certificate"),
            pytest.param({"not_after": PAST}, "valid until", id="expired"),
            pytest.param({"purposes": {"client"}}, "serverAuth|server", id="a client's"),
            pytest.param({"ca": True}, "CA|authority", id="an authority"),
            pytest.param({"usages": {"key_agreement"}}, "digitalSignature", id="key usage"),
        ],
    )
    def test_a_certificate_that_is_not_its_svid_is_refused(
        self, endpoint: Endpoint, partner: CA, shape: dict[str, object], why: str
    ) -> None:
        endpoint.presented = partner.issue(ENDPOINT, **shape)  # type: ignore[arg-type]
        with pytest.raises(SourceUnavailable, match=why) as refusal:
            spiffe(endpoint, partner).read()
        assert "is not the right server" in str(refusal.value)
        assert endpoint.requests == []

    @pytest.mark.parametrize(
        "authority",
        [
            pytest.param(OTHER, id="another trust domain's"),
            pytest.param(CA("partner.example"), id="a namesake"),
            pytest.param(CA("partner.example", not_after=PAST), id="an expired one"),
        ],
    )
    def test_another_authority_cannot_vouch_for_the_name(
        self, endpoint: Endpoint, partner: CA, authority: CA
    ) -> None:
        endpoint.presented = authority.issue(NAME)
        with pytest.raises(SourceUnavailable, match=f"{NAME} is not the right server"):
            spiffe(endpoint, partner).read()
        assert endpoint.requests == []

    def test_a_bundle_that_is_out_of_date_cannot_judge(self, endpoint: Endpoint) -> None:
        faded = CA("partner.example", not_after=PAST)
        with pytest.raises(SourceUnavailable, match="no authority in it is in date"):
            spiffe(endpoint, faded).read()
        assert endpoint.reached == 0

    def test_what_can_never_be_right_is_refused_at_once(self, partner: CA) -> None:
        for spiffe_id, error in (
            ("spiffe://other.example/x", InvalidBundle),
            ("spiffe://partner.example", InvalidPattern),
            ("partner.example/x", InvalidSpiffeId),
        ):
            with pytest.raises(error, match=r"(other|partner)\.example"):
                BundleEndpoint.https_spiffe(PARTNER, URL, spiffe_id=spiffe_id, bundle=partner.bundle())


class TestRotation:
    """The latest available bundle MUST be used to validate any subsequent connections."""

    def test_a_self_serving_endpoint_can_change_its_keys(self, endpoint: Endpoint, partner: CA) -> None:
        newer = CA("partner.example")
        read = spiffe(endpoint, partner)
        served = [(partner, [partner]), (partner, [partner, newer]), (newer, [partner, newer])]
        for authority, bundle in (*served, (newer, [newer]), (newer, [newer])):
            endpoint.presented = authority.issue(ENDPOINT)
            endpoint.answer = responding(http(document(*bundle)))
            assert bundle_read(read) == bundle_of(*bundle)
        endpoint.presented = partner.issue(ENDPOINT)
        with pytest.raises(SourceUnavailable, match="is not the right server"):
            read.read()

    def test_a_bundle_that_was_refused_is_not_used(self, endpoint: Endpoint, partner: CA) -> None:
        read = spiffe(endpoint, partner)
        endpoint.answer = responding(http(document(partner, spiffe_sequence=2)))
        read.read()
        for refused in (document(OTHER, spiffe_sequence=1), document(CA("partner.example", not_after=PAST))):
            endpoint.answer = responding(http(refused))
            with pytest.raises(InvalidBundle, match=re.escape(read.name)):
                read.read()
        endpoint.answer = responding(http(document(partner, spiffe_sequence=2)))
        assert bundle_read(read) == partner.bundle()

    def test_an_authority_that_is_out_of_date_cannot_lock_us_out(
        self, endpoint: Endpoint, partner: CA
    ) -> None:
        read = spiffe(endpoint, partner)
        endpoint.answer = responding(http(document(CA("partner.example", not_after=PAST))))
        with pytest.raises(InvalidBundle, match="no authority in it is in date"):
            read.read()
        endpoint.answer = responding(http(document(partner)))
        assert bundle_read(read) == partner.bundle()

    def test_another_trust_domains_bundle_does_not_change_how_the_server_is_verified(
        self, endpoint: Endpoint, partner: CA
    ) -> None:
        read = BundleEndpoint.https_spiffe(
            "other.example", endpoint.url(), spiffe_id=NAME, bundle=partner.bundle()
        )
        endpoint.answer = responding(http(document(OTHER)))
        for _ in range(2):
            assert bundle_read(read) == OTHER.bundle()


def test_the_time_for_one_read_is_bounded_and_known() -> None:
    assert (source.READ_SECONDS, source.RETRY_SECONDS, source.MAX_REDIRECTS) == (15.0, 60, 5)
