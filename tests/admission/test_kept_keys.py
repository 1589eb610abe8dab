"""A new policy keeps the keys that its issuers had, and no key of one that had their name."""

from __future__ import annotations

import attrs
import pytest

from meshid import Mesh
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.issuers import policy_with
from tests.helpers.tls_peers import mesh_of, policy

OKTA = Issuer(
    name="okta",
    profile=IssuerProfile.OIDC,
    issuer="https://okta.example",
    audience=("payments",),
    principal="sub",
)


@pytest.fixture
def keys() -> KeySets:
    return KeySets([KeySet.from_json("okta", TokenIssuer(OKTA.issuer).jwks())])


@pytest.fixture
def mesh(prod_ca: CA, keys: KeySets) -> Mesh:
    return mesh_of(prod_ca, policy=policy_with(OKTA), keys=keys)


@pytest.mark.parametrize(
    "changed",
    [
        attrs.evolve(OKTA, audience=("other",)),
        attrs.evolve(OKTA, roots="/etc/roots.pem"),
        attrs.evolve(OKTA, max_stale=60),
    ],
    ids=["audience", "roots", "max_stale"],
)
def test_an_issuer_keeps_its_keys(mesh: Mesh, keys: KeySets, changed: Issuer) -> None:
    before = mesh.snapshot.keys
    assert before == keys
    assert mesh.publish(policy=policy_with(changed)).keys is before


@pytest.mark.parametrize(
    "changed",
    [
        attrs.evolve(OKTA, issuer="https://other.example"),
        attrs.evolve(OKTA, jwks="https://okta.example/keys"),
        attrs.evolve(OKTA, pinned_keys=("A" * 43,)),
        attrs.evolve(OKTA, name="entra"),
    ],
    ids=["issuer", "jwks", "pinned_keys", "name"],
)
def test_another_one_begins_without(mesh: Mesh, keys: KeySets, changed: Issuer) -> None:
    assert mesh.publish(policy=policy_with(changed)).keys == KeySets()
    # They do not come back by themselves.
    assert mesh.publish(policy=policy_with(OKTA)).keys == KeySets()
    assert mesh.publish(keys=keys).keys == keys


@pytest.mark.parametrize("after", [None, policy()], ids=["no policy", "no issuers"])
def test_an_issuer_that_is_gone_has_none(mesh: Mesh, after: None) -> None:
    assert mesh.publish(policy=after).keys == KeySets()


def test_what_was_read_under_one_policy_does_not_count_under_the_next(mesh: Mesh, keys: KeySets) -> None:
    read = KeySets(attrs.evolve(each, declared=OKTA) for each in keys.values())
    assert mesh.publish(keys=read).keys == read
    mesh.publish(policy=policy_with(attrs.evolve(OKTA, issuer="https://other.example")))
    # A reader that has not been closed yet delivers once more.
    before = mesh.snapshot
    assert mesh.publish(keys=read) is before
    assert mesh.publish(policy=policy()).keys == KeySets()
    assert mesh.publish(keys=read).keys == read
    assert (
        mesh.publish(policy=policy_with(attrs.evolve(OKTA, jwks="https://okta.example/k"))).keys == KeySets()
    )


def test_what_is_published_together_counts_together(mesh: Mesh, keys: KeySets) -> None:
    changed = policy_with(attrs.evolve(OKTA, issuer="https://other.example"))
    assert mesh.publish(policy=changed, keys=keys).keys == keys


def test_keys_may_be_there_before_their_policy(prod_ca: CA, keys: KeySets) -> None:
    mesh = mesh_of(prod_ca, keys=keys)
    assert mesh.publish(policy=policy_with(OKTA)).keys == keys


def test_that_the_same_keys_count_for_longer_is_no_new_generation(mesh: Mesh, keys: KeySets) -> None:
    before = mesh.snapshot
    longer = KeySets(attrs.evolve(each, serve_until=1e10) for each in keys.values())
    after = mesh.publish(keys=longer)
    assert after.keys["okta"].serve_until == 1e10
    assert after.generation == before.generation
    # With anything else, it is one.
    assert (
        mesh.publish(
            keys=keys, policy=policy_with(OKTA, attrs.evolve(OKTA, name="b", issuer="https://b.example"))
        ).generation
        == before.generation + 1
    )
    assert mesh.publish(keys=KeySets()).generation == before.generation + 2
