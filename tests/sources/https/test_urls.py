"""Which URLs can be those of a bundle endpoint."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidInput
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.sources.https.urls import HttpsUrl
from tests.helpers.endpoints import PARTNER, URL


class TestUrls:
    """The URL MUST have the scheme set to `https` and MUST NOT include userinfo."""

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("http://partner.example/b", "its scheme must be https"),
            ("partner.example/b", "its scheme must be https"),
            ("https:/b", "it has no valid host"),
            ("https://:443/b", "it has no valid host"),
            ("https://partner..example/b", "it has no valid host"),
            (f"https://{'a' * 64}.example/b", "it has no valid host"),
            (f"https://{'a.' * 127}a/b", "it has no valid host"),
            ("https://partner.example%2f/b", "it has no valid host"),
            ("https://user@partner.example/b", "it must have no user information"),
            ("https://@partner.example/b", "it must have no user information"),
            ("https://partner.example:65536/b", "Port out of range"),
            ("https://partner.example:x/b", "Port could not be cast"),
            ("https://[::1/b", "Invalid IPv6 URL"),
            (
                "https://[fe80::1%eth0]/b",
                "it has no valid host",
            ),
            ("https://partner.example/a b", "printable ASCII"),
            ("https://partner.example/a\r\nHost: x", "printable ASCII"),
            ("https://pärtner.example/b", "printable ASCII"),
            ("", "printable ASCII"),
        ],
    )
    def test_any_other_url_is_refused_at_once(self, text: str, why: str) -> None:
        with pytest.raises(InvalidInput, match=why) as error:
            BundleEndpoint.https_web(PARTNER, text)
        assert "write https://host[:port]/path" in str(error.value)

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            (URL, ("partner.example", 443, "/bundle.json", "partner.example")),
            (
                "HTTPS://Partner.Example:8443?a=b#c",
                ("partner.example", 8443, "/?a=b", "partner.example:8443"),
            ),
            ("https://[::1]:443/", ("::1", 443, "/", "[::1]")),
            ("https://[::1]:444/", ("::1", 444, "/", "[::1]:444")),
        ],
    )
    def test_it_is_split_into_its_parts(self, text: str, url: tuple[str, int, str, str]) -> None:
        parsed = HttpsUrl.parse(text)
        assert (parsed.host, parsed.port, parsed.target, parsed.authority) == url

    @given(st.text() | st.text().map("https://{}".format) | st.text().map("https://a:{}".format), st.text())
    def test_any_text_is_a_url_or_one_error(self, text: str, location: str) -> None:
        for base in (text, URL):
            try:
                url = HttpsUrl.parse(base).joined(location)
            except InvalidInput:
                continue
            assert re.fullmatch(r"https://[!-~]+", url.text, re.IGNORECASE)
            assert "@" not in url.authority
