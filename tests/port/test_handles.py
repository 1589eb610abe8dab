"""A handle is good for as long as its connection is open and its peer admitted."""

from __future__ import annotations

import gc
import re

import attrs
import pytest

from meshid import Mesh, Peer, PeerRejected
from meshid.audit.connection_info import ConnectionInfo
from meshid.port.handles import Handles
from meshid.testing import CA
from meshid.trust.bundles import BundleSet


@attrs.define(eq=False)
class Connection:
    peer: Peer | None
    is_open: bool = True

    def end(self, _: PeerRejected) -> None:
        self.is_open = False

    def info(self) -> ConnectionInfo:
        return ConnectionInfo()


@pytest.fixture(scope="module")
def peer() -> Peer:
    ca = CA("prod.example.org")
    mesh = Mesh(bundles=BundleSet([ca.bundle()]), credentials=ca.issue("/ns/checkout/sa/api").svid)
    return mesh.admit(ca.issue("/ns/pay/sa/api").chain, expect="/ns/pay/sa/api")


def test_a_handle_leads_to_the_peer_of_its_connection(peer: Peer) -> None:
    handles = Handles()
    one, other = Connection(peer), Connection(None)
    first, second = handles.add(one), handles.add(other)
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert first != second
    assert handles.peer(first) is peer
    assert handles.peer(second) is None, "its peer is not admitted yet"
    other.peer = peer
    assert handles.peer(second) is peer
    assert handles.peer("0" * 32) is None


def test_a_handle_is_gone_with_its_connection(peer: Peer) -> None:
    handles = Handles()
    closed, ended, dropped = (Connection(peer) for _ in range(3))
    first, second, third = (handles.add(each) for each in (closed, ended, dropped))
    closed.is_open = False
    ended.peer = None
    del dropped
    gc.collect()
    assert [handles.peer(handle) for handle in (first, second, third)] == [None, None, None]
    assert len(handles) == 2


def test_no_two_handles_are_the_same(peer: Peer) -> None:
    handles, connection = Handles(), Connection(peer)
    assert len({handles.add(connection) for _ in range(1000)}) == 1000
