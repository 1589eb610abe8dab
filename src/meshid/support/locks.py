"""Locks that a forked child can take.

A forked child has only the thread that forked. A lock that another thread held at that
moment stays locked in the child for ever, and what it guards stays half changed. So every
lock of meshid is acquired before a fork, the outer ones first, and released after it in
the parent and in the child.

The two obvious ways fail. If the child makes its locks anew, as `threading` does with its
own, it never waits, but what they guard is still half changed
(https://github.com/python/cpython/issues/50970). If each lock registers itself with
`os.register_at_fork`, it lives as long as the process, because "there is no way to unregister
a function" (https://docs.python.org/3/library/os.html#os.register_at_fork). `logging` keeps its
handlers in one weak set for the same reason (https://github.com/python/cpython/pull/4071).

A fork concerns the whole process. So the set of locks here, and that of the refreshers in
`meshid.sources.refresher`, are global: the exception to "no globals, no registries".
"""

from __future__ import annotations

import os
import threading
from enum import IntEnum
from weakref import WeakKeyDictionary


class Order(IntEnum):
    """The order of locking: a thread that holds a lock takes only locks that come after it here."""

    REFRESHING = 0
    PUBLISHING = 1
    BUILDING = 2
    REMEMBERING = 3
    COUNTING = 4


_LOCKS: WeakKeyDictionary[threading.Lock, Order] = WeakKeyDictionary()
_acquired: list[threading.Lock] = []


def new_lock(order: Order) -> threading.Lock:
    """Return a lock that is free in a forked child."""
    lock = threading.Lock()
    _LOCKS[lock] = order
    return lock


def _acquire_all() -> None:
    for order in Order:
        # Listed anew for each order: a thread that holds an outer lock makes new inner ones.
        for lock in [lock() for lock in _LOCKS.keyrefs()]:
            if lock is not None and _LOCKS[lock] is order:
                lock.acquire()
                _acquired.append(lock)


def _release_all() -> None:
    while _acquired:
        _acquired.pop().release()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all)
