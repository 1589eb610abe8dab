"""The transports of uvloop, found by the memory BIO that their TLS writes to.

uvloop's ``SSLProtocol`` is compiled: it is in no frame, and none of its attributes can be read. But
the garbage collector knows what it refers to; and a loop refers to a dictionary of its transports,
newest last, which know their protocol.
"""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import islice, takewhile
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary, ref

RECENT = 64
"""Transports that are looked at again for a connection that was plain before TLS (``start_tls``); each takes
2 us."""


class Loop(Protocol):
    """A loop of asyncio's kind."""

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> object:
        """Call *callback* in the loop's thread."""


class Transport(Protocol):
    """A transport of such a loop."""

    def get_protocol(self) -> object:
        """Return whom it gives what it reads; None once its connection is lost."""

    def get_extra_info(self, name: str) -> object:
        """Return something about it; None if it does not know that."""

    def write(self, data: bytes) -> None:
        """Write to the wire."""

    def _force_close(self, error: Exception) -> None:
        """Close it at once, and give its protocol the *error*."""


class Transports:
    """The transports of one loop.

    Args:
        every: Those that are open, and their descriptors, in the order in which they came.
    """

    def __init__(self, every: WeakValueDictionary[int, Transport]) -> None:
        self._every = every
        self._seen: WeakSet[Transport] = WeakSet()
        self._by_bio: WeakValueDictionary[int, Transport] = WeakValueDictionary()
        self._found: WeakValueDictionary[int, Transport] = WeakValueDictionary()

    def of_new(self, bio: object) -> Transport | None:
        """Return the transport of a new connection, in the loop's thread; None if it is not recent.

        Whoever connects causes this, so each new transport is looked at once.
        """
        # It changes if the garbage collector finds a dead one meanwhile.
        with suppress(RuntimeError):
            _note(list(takewhile(self._is_new, self._newest_first())), self._by_bio, self._seen)
            if id(bio) not in self._by_bio:
                _note(list(islice(self._newest_first(), RECENT)), self._by_bio, self._seen)
        return _which_holds(bio, self._by_bio)

    def of(self, bio: object) -> Transport | None:
        """Return the transport of any connection, from any thread; it looks at all, once for many calls."""
        known = _which_holds(bio, self._found)
        if known is None:
            self._found = WeakValueDictionary()
            _note(self._every.valuerefs(), self._found, WeakSet())
            known = _which_holds(bio, self._found)
        return known

    def _newest_first(self) -> Iterable[ref[Transport]]:
        # Not `valuerefs()`, which is a copy of all.
        return reversed(self._every.data.values())  # type: ignore[attr-defined]  # typeshed does not know it

    def _is_new(self, reference: ref[Transport]) -> bool:
        return reference() not in self._seen


def _note(
    references: Iterable[ref[Transport]],
    by_bio: WeakValueDictionary[int, Transport],
    seen: WeakSet[Transport],
) -> None:
    for transport in [each for reference in references if (each := reference()) is not None]:
        seen.add(transport)
        bios = [each for each in gc.get_referents(transport.get_protocol()) if type(each) is ssl.MemoryBIO]
        by_bio.update({id(each): transport for each in bios})


def _which_holds(bio: object, by_bio: WeakValueDictionary[int, Transport]) -> Transport | None:
    transport = by_bio.get(id(bio))
    # The number of an object that is gone may be another one's now.
    holds = transport is not None and id(bio) in map(id, gc.get_referents(transport.get_protocol()))
    return transport if holds else None


def running_uvloop() -> Loop | None:
    """Return the loop that runs in this thread, if it is uvloop's."""
    uvloop = sys.modules.get("uvloop")
    if uvloop is None:
        return None
    with suppress(RuntimeError):
        loop: Loop = sys.modules["asyncio"].get_running_loop()
        return loop if isinstance(loop, uvloop.Loop) else None
    return None


_known: WeakKeyDictionary[Loop, Transports] = WeakKeyDictionary()


def transports_of(loop: Loop) -> Transports | None:
    """Return the transports of a loop of uvloop; None if this version of it keeps them elsewhere."""
    known = _known.get(loop)
    if known is None:
        for each in gc.get_referents(loop):
            if isinstance(each, WeakValueDictionary):
                known = _known[loop] = Transports(each)
    return known
