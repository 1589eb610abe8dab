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

A signal handler runs in the main thread, between two steps of whatever it is doing, and may call
a mesh as well. So the locks are re-entrant: a lock that the interrupted code holds does not stop
the handler for ever. What a lock guards must therefore be right at each call and each jump, which
is where CPython runs signal handlers (and finalizers), and never calls the user's code: nobody
waits for that with a lock of ours, not a thread and not a fork.

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
    WAITING = 5


class _Forks(threading.local):
    """The forks that a thread is at: two if a signal handler forks while it interrupts a fork."""

    def __init__(self) -> None:
        self.acquired: list[list[threading.RLock]] = []


_LOCKS: WeakKeyDictionary[threading.RLock, Order] = WeakKeyDictionary()
_forks = _Forks()


def new_lock(order: Order) -> threading.RLock:
    """Return a re-entrant lock that no other thread holds in a forked child."""
    lock = threading.RLock()
    _LOCKS[lock] = order
    return lock


def _acquire_all() -> None:
    acquired: list[threading.RLock] = []
    _forks.acquired.append(acquired)
    for order in Order:
        # Listed anew for each order: a thread that holds an outer lock makes new inner ones.
        for lock in [lock() for lock in _LOCKS.keyrefs()]:
            if lock is not None and _LOCKS[lock] is order:
                lock.acquire()
                acquired.append(lock)


def _release_all() -> None:
    for lock in reversed(_forks.acquired.pop()):
        lock.release()


# Windows does not fork.
if hasattr(os, "register_at_fork"):  # pragma: no branch - the tests run where it is there
    os.register_at_fork(before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all)
