"""Work that never ends is left behind when the time is over."""

from __future__ import annotations

import threading

import pytest

from meshid.sources.https.deadlines import Deadline, Stopped
from tests.helpers.endpoints import SHORT, bounded
from tests.helpers.tls_peers import TIMEOUT


def test_work_that_never_ends_is_left_behind() -> None:
    never = threading.Event()
    with bounded(SHORT * 4), Deadline(SHORT) as deadline, pytest.raises(TimeoutError):
        deadline.wait_for(never.wait)
    never.set()


def test_work_that_never_ends_is_left_behind_when_stopped() -> None:
    never = threading.Event()
    with bounded(SHORT * 4), Deadline(TIMEOUT) as deadline:
        threading.Timer(SHORT / 4, deadline.stop).start()
        with pytest.raises(Stopped):
            deadline.wait_for(never.wait)
    never.set()


def test_what_work_raises_is_raised() -> None:
    with Deadline(TIMEOUT) as deadline, pytest.raises(LookupError):
        deadline.wait_for([].pop)
