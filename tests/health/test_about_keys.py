"""Whose tokens are all refused, for want of keys."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from datetime import timedelta

import attrs
import pytest

from meshid import BundleSet, Mesh
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from meshid.tokens.token_signature import require_extra
from tests.helpers.issuers import policy_with
from tests.helpers.tls_peers import mesh_of, policy
from tests.helpers.world import Clock

CI = Issuer(
    name="ci",
    profile=IssuerProfile.OIDC,
    issuer="https://ci.example",
    audience=("payments",),
    principal="sub",
)
SPIRE = Issuer(
    name="spire", profile=IssuerProfile.JWT_SVID, issuer=None, audience=("payments",), principal="sub"
)


def found(mesh: Mesh) -> list[Alarm]:
    alarms = mesh.health().alarms
    assert mesh.health().ready
    return [alarm for alarm in alarms if alarm.about.startswith(("keys of", "tokens"))]


def keys_until(end: float) -> KeySets:
    return KeySets([KeySet.from_json("ci", TokenIssuer().jwks(), serve_until=end)])


def test_keys_that_count_are_no_alarm_and_those_that_count_no_more_are_an_error(
    prod_ca: CA, clock: Clock
) -> None:
    mesh = mesh_of(prod_ca, clock=clock, policy=policy_with(CI), keys=keys_until(clock() + 60))
    clock.now += timedelta(seconds=59)
    assert found(mesh) == []
    # As for a token: at that very second, they count no more.
    clock.now += timedelta(seconds=1)
    (alarm,) = found(mesh)
    assert (alarm.about, alarm.level, alarm.is_outage) == ("keys of issuer 'ci'", AlarmLevel.ERROR, False)
    assert alarm.text == (
        f"they could not be read again, and count no more since {clock.now}: look at their source;"
        " until then, its tokens are refused"
    )


def test_there_may_be_none_or_none_that_can_be_used(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca, policy=policy_with(CI))
    (alarm,) = found(mesh)
    assert alarm.text.startswith("there are none: publish them, or look at their source;")
    mesh.publish(keys=KeySets([KeySet(issuer="ci")]))
    (alarm,) = found(mesh)
    assert alarm.text.startswith("none of them can be used: look at its key set;")
    mesh.publish(policy=policy())
    assert found(mesh) == []
    mesh.publish(policy=None)


def test_tokens_that_are_required_of_nobody_are_an_error(prod_ca: CA) -> None:
    """Else the service is ready, and refuses each request."""
    mesh = mesh_of(prod_ca, policy=policy(), tokens="required")
    (alarm,) = found(mesh)
    assert (alarm.about, alarm.level, alarm.is_outage) == ("tokens", AlarmLevel.ERROR, False)
    assert "the policy has no issuer in this environment" in alarm.text
    mesh.publish(policy=policy_with(CI), keys=keys_until(math.inf))
    assert found(mesh) == []


def test_those_of_jwt_svids_are_in_the_bundles_of_its_own_environment(prod_ca: CA, dev_ca: CA) -> None:
    keys = KeySet.from_json("", TokenIssuer(None, use="jwt-svid").jwks(), use="jwt-svid").keys
    own, partner = prod_ca.bundle(), attrs.evolve(dev_ca.bundle(), jwt_keys=keys)
    mesh = mesh_of(prod_ca, policy=policy_with(SPIRE), bundles=BundleSet([own, partner]))
    (alarm,) = found(mesh)
    assert alarm.text.startswith("no bundle of a trust domain of this environment has keys for JWT-SVIDs")
    mesh.publish(bundles=BundleSet([attrs.evolve(own, jwt_keys=keys), partner]))
    assert found(mesh) == []


class TestWithoutTheExtra:
    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setitem(sys.modules, "jwt", None)
        require_extra.cache_clear()
        yield
        require_extra.cache_clear()

    def test_it_is_one_alarm(self, prod_ca: CA, clock: Clock) -> None:
        issuers = (CI, attrs.evolve(CI, name="other", issuer="https://other.example"))
        keys = KeySets(
            KeySet.from_json(each.name, TokenIssuer().jwks(), serve_until=clock() + 60) for each in issuers
        )
        mesh = mesh_of(prod_ca, clock=clock, policy=policy_with(*issuers), keys=keys)
        (alarm,) = found(mesh)
        assert str(alarm).startswith("tokens: every token is refused: ")
        assert "pyjwt[crypto]" in alarm.text

    def test_who_has_no_issuers_needs_none(self, prod_ca: CA) -> None:
        assert found(mesh_of(prod_ca)) == []
