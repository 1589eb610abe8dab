"""A bounded mapping that keeps what is used again.

SIEVE (Zhang et al., NSDI 2024, "SIEVE is Simpler than LRU"): entries stand in a queue in
the order of their arrival, and a hit only marks an entry as visited. When room is needed,
a hand walks from the oldest to the newest and around again, removes the marks, and evicts
the first entry without one. An entry that is never used again is evicted within one turn of
the hand, so a flood of new keys cannot evict those that are used again and again.

A look-up takes no lock and moves nothing: it reads one dictionary entry and sets a flag. And
nobody waits to enter something: while another thread does, or the code that a signal handler has
interrupted, the entry is not made. To forget is what a cache may do.
"""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from meshid.support.locks import Order, new_lock

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Entry(Generic[_K, _V]):
    """An entry of the queue. The queue is a ring: its end stands between the newest and the oldest entry."""

    __slots__ = ("key", "newer", "older", "value", "visited")

    def __init__(self, key: _K, value: _V) -> None:
        self.key = key
        self.value = value
        self.visited = False
        self.older = self
        self.newer = self


class Sieve(Generic[_K, _V]):
    """A mapping with a bounded number of entries.

    Args:
        capacity: The most entries that it has.

    Raises:
        ValueError: If *capacity* is not positive.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            msg = f"a capacity is at least 1, not {capacity}"
            raise ValueError(msg)
        self.capacity = capacity
        self.evictions = 0
        self._entries: dict[_K, _Entry[_K, _V]] = {}
        self._end = cast("_Entry[_K, _V]", _Entry(None, None))
        self._hand = self._end
        self._changing = new_lock(Order.REMEMBERING)
        self._is_changing = False

    def get(self, key: _K) -> _V | None:
        """Return the value of *key*, and mark it as visited; None if there is no such key."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.visited = True
        return entry.value

    def put(self, key: _K, value: _V) -> None:
        """Set the value of *key*, evicting another entry if there is no room; do nothing rather than wait."""
        if not self._changing.acquire(blocking=False):
            return
        try:
            # The lock is re-entrant, so it lets a signal handler in.
            if not self._is_changing:
                self._put(key, value)
        finally:
            self._changing.release()

    def items(self) -> list[tuple[_K, _V]]:
        """Return the keys and values, in no particular order."""
        return [(entry.key, entry.value) for entry in list(self._entries.values())]

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def _put(self, key: _K, value: _V) -> None:
        self._is_changing = True
        try:
            known = self._entries.get(key)
            if known is not None:
                known.value = value
                return
            if len(self._entries) >= self.capacity:
                self._evict()
            self._append(_Entry(key, value))
        finally:
            self._is_changing = False

    def _append(self, entry: _Entry[_K, _V]) -> None:
        entry.older, entry.newer = self._end.older, self._end
        entry.older.newer = entry.newer.older = entry
        # Last: a look-up takes no lock, and must not find an entry that is half linked.
        self._entries[entry.key] = entry

    def _evict(self) -> None:
        entry = self._hand
        while entry is self._end or entry.visited:
            entry.visited = False
            entry = entry.newer
        self._hand = entry.newer
        entry.older.newer, entry.newer.older = entry.newer, entry.older
        del self._entries[entry.key]
        self.evictions += 1
