"""What can be put in force is, and one part that cannot costs little however many others there are."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import attrs
from typing_extensions import override

from meshid import BundleSet
from meshid.admission.admission import Admission
from meshid.admission.ended import Ended
from meshid.admission.snapshot import Changes, Snapshot
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.sources import State
from meshid.sources.merging import Origin
from meshid.sources.publishing import Publisher
from meshid.sources.reader import Reader
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.fake_sources import FakeSource
from tests.helpers.issuers import policy_with
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


def test_keys_of_the_issuer_before_it_are_not_those_of_a_new_one_for_an_instant() -> None:
    """The policy changes, and the reader of the issuer before is still there."""
    old = Issuer(
        name="okta", profile=IssuerProfile.OIDC, issuer="https://a.example", audience=("x",), principal="sub"
    )
    keys = attrs.evolve(KeySet.from_json("okta", TokenIssuer().jwks()), declared=old)
    own, read = Reader(FakeSource("own", State())), Reader(FakeSource("okta", State()))
    seen: list[KeySets] = []

    class Watching(Admission):
        @override
        def put_in_force(self, changes: Changes, now: float | None = None) -> tuple[Snapshot, Ended]:
            put = super().put_in_force(changes, now)
            seen.append(put[0].keys)
            return put

    admission = Watching({})
    publisher = Publisher(admission)

    def publish(issuer: Issuer) -> dict[object, object]:
        states: dict[Origin, State] = {own: State(policy=policy_with(issuer)), read: State(keys=(keys,))}
        return dict(publisher.publish(states, [], time.time()))

    publish(old)
    assert admission.snapshot.keys == KeySets([keys])
    # The same issuer, asked in another way.
    publish(attrs.evolve(old, roots="/etc/roots.pem"))
    assert admission.snapshot.keys == KeySets([keys])
    seen.clear()
    assert publish(attrs.evolve(old, issuer="https://b.example")) == {}
    assert seen == [KeySets()]
    # What no source has any more is gone.
    publish(old)
    assert admission.snapshot.keys == KeySets([keys])
    publisher.publish({own: State(policy=policy_with(old)), read: State()}, [], time.time())
    assert admission.snapshot.keys == KeySets()
