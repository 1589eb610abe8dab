"""What can be put in force is, and one part that cannot costs little however many others there are."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from typing_extensions import override

from meshid import BundleSet
from meshid.admission.admission import Admission
from meshid.admission.ended import Ended
from meshid.admission.snapshot import Changes, Snapshot
from meshid.sources import State
from meshid.sources.publishing import Publisher
from meshid.sources.reader import Reader
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource
from tests.helpers.world import DAY

PARTNERS = 64


class Counting(Admission):
    """Counts how often somebody tries to put something in force."""

    tries = 0

    @override
    def put_in_force(self, changes: Changes, now: float | None = None) -> tuple[Snapshot, Ended]:
        self.tries += 1
        return super().put_in_force(changes, now)


def test_one_bad_bundle_of_many_costs_few_tries() -> None:
    long_ago = datetime.now(UTC) - 3 * DAY
    good = [CA(f"partner-{number}.example").bundle() for number in range(PARTNERS)]
    ended = CA("ended.example", not_before=long_ago, not_after=long_ago + DAY).bundle()
    state = State(bundles=(*good[:40], ended, *good[40:]))
    admission = Counting({})
    reader = Reader(FakeSource("map", state))
    admission.tries = 0
    failures = Publisher(admission).publish({reader: state}, [reader], time.time())
    assert list(failures) == [ended.trust_domain]
    assert admission.snapshot.bundles == BundleSet(good)
    # At most two for each halving.
    assert admission.tries <= 1 + 2 * PARTNERS.bit_length()
