"""Forwarded certificates: exactly what one proxy writes is a chain, and anything else is an error."""

from __future__ import annotations

import pytest

from meshid.http import Forwarded
from meshid.testing import CA
from tests.helpers.forwarding import PROXIES, passed, written

ROOT = CA("prod.example.org")
INTERMEDIATE = ROOT.intermediate()
LEAF = INTERMEDIATE.issue("/ns/checkout/sa/api", dns=["api.example"])

for_each_proxy = pytest.mark.parametrize("proxy", PROXIES)


@for_each_proxy
def test_the_chain_that_a_proxy_writes_is_read(proxy: str) -> None:
    assert Forwarded(proxy).chain(written(proxy, LEAF.chain)) == passed(proxy, LEAF.chain)


@for_each_proxy
def test_where_no_header_is_there_is_no_chain(proxy: str) -> None:
    assert Forwarded(proxy, intermediates=INTERMEDIATE.pem).chain([(b"host", b"a")]) == ()
