"""At the end of a rule, whom it has let in must go, on a connection that is open as well."""

from __future__ import annotations

import pytest

from meshid import Mesh, PeerRejected, Reason, peer_of
from meshid.sources import State
from tests.helpers.ending_rule import ENDING, STAYING, EndingRule
from tests.helpers.fake_sources import FakeSource
from tests.helpers.lines import goes_on, is_ended, line, sweep
from tests.helpers.loops import EVERYWHERE, tells
from tests.helpers.tls_peers import (
    Heard,
    Memory,
    Serving,
    admission_of,
    asyncio_server,
    knock,
    stranger,
)


@pytest.fixture(scope="module")
def ending() -> EndingRule:
    return EndingRule()


@pytest.fixture(autouse=True)
def _before_the_end(ending: EndingRule) -> None:
    ending.before_the_end()


@pytest.mark.parametrize("serve", EVERYWHERE.values(), ids=EVERYWHERE)
def test_an_idle_connection_ends_and_others_go_on(serve: Serving, ending: EndingRule, heard: Heard) -> None:
    mesh = ending.mesh(audit=heard)
    bad, good = ending.issue(ENDING), ending.issue(STAYING)
    with (
        serve(mesh.server_context()) as service,
        line(service.port, stranger(bad)) as over,
        line(service.port, stranger(good)) as staying,
    ):
        sweep(mesh)
        assert goes_on(over)
        ending.at_the_end()
        sweep(mesh)
        assert is_ended(over)
        assert tells(service.refusal(), Reason.NO_RULE, serve)
        assert goes_on(staying)
        assert [heard.next().call for _ in range(3)] == ["admit", "admit", "review"]
        assert knock(service.port, stranger(bad)).answer == b""


def test_a_mesh_with_sources_reviews_by_itself(ending: EndingRule) -> None:
    own = ending.issue("/ns/pay/sa/payments").svid
    source = FakeSource("own", State(credentials=own, bundles=(ending.ca.bundle(),), policy=ending.policy))
    with (
        Mesh.from_sources([source], service="payments", clock=ending.clock) as mesh,
        asyncio_server(mesh.server_context()) as service,
        line(service.port, stranger(ending.issue(ENDING))) as over,
    ):
        assert mesh.health().ready
        ending.at_the_end()
        assert is_ended(over)


@pytest.mark.parametrize("resettled", [True, False], ids=["the clock moved on", "the clock stood still"])
def test_who_is_let_in_by_a_handshake_is_let_in_at_its_end(ending: EndingRule, *, resettled: bool) -> None:
    """The certificate comes before the end of the rule, and the handshake ends after it."""
    mesh = ending.mesh()
    both = Memory(mesh.server_context(), stranger(ending.issue(ENDING)))
    admission = admission_of(mesh)
    settle = admission.settle

    def then_midnight(*arguments: object) -> object:
        settled = settle(*arguments)  # type: ignore[arg-type]  # passed on
        if resettled:
            ending.at_the_end()
        return settled

    admission.settle = then_midnight  # type: ignore[assignment,method-assign]
    if resettled:
        with pytest.raises(PeerRejected) as caught:
            both.shake_hands()
        assert caught.value.reason is Reason.NO_RULE
    else:
        both.shake_hands()
        assert peer_of(both.server).spiffe_id.path == ENDING


def test_one_that_was_let_in_at_the_very_end_is_found_by_the_next_sweep(ending: EndingRule) -> None:
    mesh = ending.mesh()
    both = Memory(mesh.server_context(), stranger(ending.issue(ENDING)))
    both.shake_hands()
    ending.at_the_end()
    sweep(mesh)
    assert mesh.open_connections == 0
    with pytest.raises(PeerRejected):
        both.server.read()


def test_the_sweep_reviews_once_and_then_at_the_next_end(ending: EndingRule) -> None:
    mesh = ending.mesh()
    both = Memory(mesh.server_context(), stranger(ending.issue(STAYING)))
    both.shake_hands()
    (entry,) = admission_of(mesh).connections.now()
    assert entry.until == ending.end.timestamp()
    ending.at_the_end()
    sweep(mesh)
    assert entry.until == float("inf")
    assert peer_of(both.server).spiffe_id.path == STAYING


def test_a_clock_that_steps_back_lets_in_again(ending: EndingRule) -> None:
    mesh, chain = ending.mesh(), ending.issue(ENDING).chain
    for _ in range(2):
        assert mesh.decide(chain)
        peer = mesh.admit(chain)
        ending.at_the_end()
        assert not mesh.decide(chain)
        assert not mesh.check(peer)
        ending.before_the_end()
        assert mesh.check(peer)
