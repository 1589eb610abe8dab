"""Counters tell decisions apart by kind, and peers not at all."""

from __future__ import annotations

from threading import Thread
from typing import cast

from meshid import Call, Decision, DecisionKind, Reason
from meshid.audit.counters import Counters
from meshid.certificates.leaf import Role
from tests.helpers.user_code import signalled

ALLOWED = Decision(allowed=True, reason=Reason.ALLOWED, name="spiffe://prod.example.org/a")
DENIED = Decision(allowed=False, reason=Reason.DENIED, name="spiffe://prod.example.org/a")


def test_each_kind_is_counted_by_itself() -> None:
    counters = Counters()
    for call, decision in ((Call.ADMIT, ALLOWED), (Call.ADMIT, ALLOWED), (Call.CHECK, ALLOWED)):
        counters.add(call, Role.CLIENT, decision)
    counters.add(Call.ADMIT, Role.CLIENT, DENIED)
    assert counters.now() == {
        DecisionKind(Call.ADMIT, Role.CLIENT, allowed=True, reason=Reason.ALLOWED): 2,
        DecisionKind(Call.CHECK, Role.CLIENT, allowed=True, reason=Reason.ALLOWED): 1,
        DecisionKind(Call.ADMIT, Role.CLIENT, allowed=False, reason=Reason.DENIED): 1,
    }


def test_no_decision_is_lost_under_threads() -> None:
    counters = Counters()

    def count() -> None:
        for _ in range(500):
            counters.add(Call.ADMIT, Role.SERVER, ALLOWED)

    threads = [Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(counters.now().values()) == [4000]


def test_no_decision_is_lost_to_a_signal_handler() -> None:
    """It runs inside of each look-up, and counts a decision of the same kind."""
    counters, counted = Counters(), [1]

    class Interrupted:
        is_free = True

        def __hash__(self) -> int:
            if self.is_free:
                self.is_free = False
                interrupt()
                self.is_free = True
            return 7

    interrupted = Interrupted()
    role = cast("Role", interrupted)

    def count() -> None:
        counted.append(1)
        counters.add(Call.ADMIT, role, ALLOWED)

    with signalled(count) as interrupt:
        counters.add(Call.ADMIT, role, ALLOWED)
    interrupted.is_free = False
    assert len(counted) > 1
    assert list(counters.now().values()) == [len(counted)]
