"""A state has what it says: what is anything else is refused where it is made, and holds up nothing."""

from __future__ import annotations

import pytest

from meshid import Mesh, Revocations
from meshid.sources import Fault, State
from meshid.testing import CA
from meshid.tokens.key_set import KeySet
from tests.helpers.fake_sources import FakeSource
from tests.helpers.mounted import OWN, eventually, hurry
from tests.helpers.tls_peers import PATH, policy

PROD = CA("prod.example.org")
WRONG: list[tuple[dict[str, object], str]] = [
    ({"credentials": "-----BEGIN PRIVATE KEY-----"}, "credentials must be an X509Svid or None, not str"),
    ({"policy": "policy.toml"}, "policy must be a Policy or None, not str"),
    ({"revocations": None}, "revocations must be a Revocations, not NoneType"),
    ({"bundles": None}, "bundles must be a tuple of TrustBundle, not NoneType"),
    ({"bundles": (PROD.pem,)}, "each of the bundles must be a TrustBundle, not bytes"),
    ({"warnings": "old"}, "warnings must be a tuple of str, not str"),
    ({"faults": ("old",)}, "each of the faults must be a Fault, not str"),
]


@pytest.mark.parametrize(("parts", "message"), WRONG, ids=lambda each: str(each)[:20])
def test_a_part_of_a_wrong_type_is_refused(parts: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        State(**parts)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_two_bundles_of_one_trust_domain_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^two bundles are of the same trust domain: prod\.example\.org, "):
        State(bundles=(PROD.bundle(), CA("prod.example.org").bundle()))


def test_two_key_sets_of_one_issuer_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^two key sets are of the same issuer: 'ci', 'ci'"):
        State(keys=(KeySet(issuer="ci"), KeySet(issuer="ci")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((1,), "text must be a str, not int"),
        (("x", "y"), "trust_domain must be a TrustDomain or None, not str"),
    ],
)
def test_a_fault_of_a_wrong_type_is_refused(fields: tuple[object, ...], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        Fault(*fields)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_source_that_makes_such_a_state_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)

    class Wrong(FakeSource):
        is_wrong = False

        def read(self) -> State:
            return State(bundles=(None,)) if self.is_wrong else super().read()  # type: ignore[arg-type]

    own = State(credentials=PROD.issue(OWN).svid, bundles=(PROD.bundle(),), policy=policy())
    wrong, denied = Wrong("wrong", State()), FakeSource("denied", State())
    with Mesh.from_sources([FakeSource("own", own), wrong, denied], service="payments") as mesh:
        wrong.is_wrong = True
        assert eventually(lambda: [alarm.about for alarm in mesh.health().alarms] == ["wrong"])
        denial = Revocations(deny=[f"spiffe://prod.example.org{PATH}"])
        denied.now = State(revocations=denial)
        assert eventually(lambda: mesh.snapshot.revocations == denial)
