"""Which URLs are asked when a server points elsewhere."""

from __future__ import annotations

import re

import pytest

from meshid.errors import SourceUnavailable
from meshid.testing import CA
from tests.helpers.endpoints import (
    ENDPOINT,
    Endpoint,
    bundle_read,
    document,
    http,
    moved,
    responding,
    serving,
    spiffe,
)


class TestRedirects:
    """Clients SHOULD follow the redirect if the URL meets all the requirements."""

    def test_the_other_place_is_asked_under_the_same_rules(self, endpoint: Endpoint, partner: CA) -> None:
        with serving(partner.issue(ENDPOINT), document(partner)) as other:
            endpoint.answer = responding(moved(other.url("/new?x")))
            assert bundle_read(spiffe(endpoint, partner)) == partner.bundle()
            assert other.requests[0].startswith(b"GET /new?x ")
            other.presented = partner.issue("/other")
            place = re.escape(f"redirected to {other.url('/new?x')!r}: spiffe://partner.example/other is not")
            with pytest.raises(SourceUnavailable, match=place):
                spiffe(endpoint, partner).read()

    def test_each_read_begins_at_the_configured_url(self, endpoint: Endpoint, partner: CA) -> None:
        with serving(partner.issue(ENDPOINT), document(partner)) as other:
            endpoint.answer = responding(moved(other.url(), "308 Permanent Redirect"))
            read = spiffe(endpoint, partner)
            read.read()
            read.read()
            assert (len(endpoint.requests), len(other.requests)) == (2, 2)

    @pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 T", "308 P"])
    def test_a_relative_one_is_followed(self, endpoint: Endpoint, partner: CA, status: str) -> None:
        endpoint.answer = responding(moved("../new", status), http(document(partner)))
        bundle_read(spiffe(endpoint, partner, "/a/b/old"))
        assert endpoint.requests[1].startswith(b"GET /a/new ")

    @pytest.mark.parametrize(
        ("location", "why"),
        [
            pytest.param("http://127.0.0.1/b", "its scheme must be https", id="plain http"),
            pytest.param("file:///etc/passwd", "its scheme must be https", id="a file"),
            pytest.param("https://me@127.0.0.1/b", "user information", id="userinfo"),
            pytest.param("https://[::1/b", "is not a URL", id="broken"),
            pytest.param("/b\u00e4r", "printable ASCII", id="not ASCII"),
        ],
    )
    def test_any_other_one_is_refused(self, endpoint: Endpoint, partner: CA, location: str, why: str) -> None:
        response = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode("latin-1")
        endpoint.answer = responding(response)
        with pytest.raises(SourceUnavailable, match=why):
            spiffe(endpoint, partner).read()
        assert endpoint.reached == 1

    def test_a_redirect_to_nowhere_is_the_same_place(self, endpoint: Endpoint, partner: CA) -> None:
        endpoint.answer = responding(http(b"", status="302 Found"))
        with pytest.raises(SourceUnavailable, match="there are more than 5 redirects"):
            spiffe(endpoint, partner).read()
        assert endpoint.reached == 6

    def test_a_loop_is_ended(self, endpoint: Endpoint, partner: CA) -> None:
        endpoint.answer = responding(moved("/bundle.json"))
        with pytest.raises(SourceUnavailable, match="there are more than 5 redirects"):
            spiffe(endpoint, partner).read()
        assert endpoint.reached == 6
