"""Locks that a forked child can take.

A child has only the thread that forked. A lock that another thread held at that moment
would never be let go, and what it guards would stay half changed. So all of them are
taken before a fork, the outer ones first, and let go on both sides of it.
"""

from __future__ import annotations

import os
import threading
from enum import IntEnum
from weakref import WeakKeyDictionary


class Order(IntEnum):
    """Who may wait for whom: a thread with one of these takes only those that come after it."""

    REFRESHING = 0
    PUBLISHING = 1
    BUILDING = 2
    REMEMBERING = 3
    COUNTING = 4


_LOCKS: WeakKeyDictionary[threading.Lock, Order] = WeakKeyDictionary()
_held: list[threading.Lock] = []


def new_lock(order: Order) -> threading.Lock:
    """Return a lock that is free in a forked child."""
    lock = threading.Lock()
    _LOCKS[lock] = order
    return lock


def _hold() -> None:
    for order in Order:
        # Looked up anew for each: whoever holds an outer lock makes new inner ones.
        for lock in [lock() for lock in _LOCKS.keyrefs()]:
            if lock is not None and _LOCKS[lock] is order:
                lock.acquire()
                _held.append(lock)


def _let_go() -> None:
    while _held:
        _held.pop().release()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)
