"""What the refresh did, as fields of a log record."""

from __future__ import annotations

import json
import logging

import attrs
import pytest
from cryptography import x509

from meshid import BundleSet, JsonFormatter, Mesh, Policy, Revocations, TrustBundle
from meshid.admission.snapshot import Snapshot
from meshid.certificates.reading import fingerprint, to_der
from meshid.health.alarm import Alarm, AlarmLevel
from meshid.health.refresh_event import MAX_NAMED, RefreshEvent, changes_between
from meshid.testing import CA, TokenIssuer
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.tls_peers import mesh_of, policy
from tests.helpers.world import DAY, Clock

HEAD = 'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]\n'


def rule(id_: str, source: str = "/ns/shop/**", why: str = "") -> str:
    return f'[[allow]]\nid = "{id_}"\nfrom = ["{source}"]\nto = ["payments"]\nwhy = "{why}"\n'


def rules(*text: str) -> Policy:
    return Policy.from_toml(HEAD + "".join(text), environment="prod")


def change(mesh: Mesh, **parts: object) -> dict[str, object]:
    """Publish, and return what is told of it, without what is told of every change."""
    before = mesh.snapshot
    now = mesh.publish(**parts)  # type: ignore[arg-type]
    fields = RefreshEvent.of_change(before, now).as_dict()
    assert fields.pop("event.name") == "meshid.refresh.changed"
    assert fields.pop("meshid.generation") == now.generation
    assert fields.pop("meshid.parts") == list(parts)
    assert json.loads(json.dumps(fields)) == fields
    return fields


def named(certificate: x509.Certificate) -> str:
    return f"{fingerprint(to_der(certificate))} until {certificate.not_valid_after_utc.isoformat()}"


@pytest.fixture
def mesh(prod_ca: CA) -> Mesh:
    return mesh_of(prod_ca)


def test_nothing(mesh: Mesh) -> None:
    assert changes_between(mesh.snapshot, mesh.snapshot) == {"meshid.generation": 1, "meshid.parts": []}


def test_an_authority_that_was_removed_is_named_as_exactly_as_one_that_was_added(
    mesh: Mesh, prod_ca: CA
) -> None:
    new, partner = CA("prod.example.org"), CA("partner.example")
    both = TrustBundle.from_pem("prod.example.org", prod_ca.pem + new.pem)
    assert change(mesh, bundles=BundleSet([both, partner.bundle()])) == {
        "meshid.bundles.added": ["partner.example"],
        "meshid.authorities.added": sorted(
            [f"prod.example.org {named(new.certificate)}", f"partner.example {named(partner.certificate)}"]
        ),
    }
    assert change(mesh, bundles=BundleSet([new.bundle()])) == {
        "meshid.bundles.removed": ["partner.example"],
        "meshid.authorities.removed": sorted(
            [
                f"prod.example.org {named(prod_ca.certificate)}",
                f"partner.example {named(partner.certificate)}",
            ]
        ),
    }


def test_a_key_for_jwt_svids_is_named_with_its_trust_domain(mesh: Mesh, prod_ca: CA) -> None:
    spire = TokenIssuer(None, use="jwt-svid")
    (key,) = KeySet.from_json("spire", spire.jwks(), use="jwt-svid").keys
    name = f"'prod.example.org' {key.thumbprint} 'key-1'"
    with_key = attrs.evolve(prod_ca.bundle(), jwt_keys=(key,))
    assert change(mesh, bundles=BundleSet([with_key])) == {"meshid.jwt_keys.added": [name]}
    assert change(mesh, bundles=BundleSet([prod_ca.bundle()])) == {"meshid.jwt_keys.removed": [name]}


def test_keys_of_issuers_but_not_for_how_long_they_count(mesh: Mesh) -> None:
    issuer = TokenIssuer()
    key_set = KeySet.from_json("ci", issuer.jwks())
    (key,) = key_set.keys
    nameless = KeySet(issuer="ci", keys=(attrs.evolve(key, key_id=None),))
    assert change(mesh, keys=KeySets([key_set])) == {"meshid.keys.added": [f"'ci' {key.thumbprint} 'key-1'"]}
    assert change(mesh, keys=KeySets([nameless])) == {
        "meshid.keys.added": [f"'ci' {key.thumbprint}"],
        "meshid.keys.removed": [f"'ci' {key.thumbprint} 'key-1'"],
    }
    before = mesh.snapshot
    later = KeySets([attrs.evolve(nameless, serve_until=1e10)])
    now = mesh.publish(keys=later, revocations=Revocations(deny=["spiffe://prod.example.org/x"]))
    assert changes_between(before, now)["meshid.parts"] == ["revocations"]


def test_our_own_certificate(mesh: Mesh, prod_ca: CA) -> None:
    before = mesh.snapshot.credentials
    renewed = prod_ca.issue("/ns/pay/sa/renamed")
    fields = change(mesh, credentials=renewed.svid)
    assert before is not None
    assert fields == {
        "meshid.local.spiffe_id": "spiffe://prod.example.org/ns/pay/sa/renamed",
        "meshid.certificates.added": [named(renewed.certificate)],
        "meshid.certificates.removed": [named(before.leaf)],
    }
    assert change(mesh, credentials=None) == {
        "meshid.certificates.removed": fields["meshid.certificates.added"]
    }


def test_rules_and_the_hash_of_the_policy(mesh: Mesh) -> None:
    old = rules(rule("a"), rule("b"), rule("c", why="because"))
    mesh.publish(policy=old)
    # The rule "c" has moved, and says something else why: neither decides anything.
    new = rules(rule("c"), rule("b", "/ns/other/**"), rule("d"))
    assert change(mesh, policy=new) == {
        "deployment.environment.name": "prod",
        "security_rule.version": new.hash,
        "meshid.policy.hash.before": old.hash,
        "meshid.policy.observe": False,
        "meshid.rules.added": ["d"],
        "meshid.rules.removed": ["a"],
        "meshid.rules.changed": ["b"],
    }
    assert change(mesh, policy=None) == {
        "meshid.policy.hash.before": new.hash,
        "meshid.rules.removed": ["b", "c", "d"],
    }


def test_lists_and_denials(mesh: Mesh, prod_ca: CA, clock: Clock) -> None:
    due = clock.now + DAY
    with_list = Revocations(crls=[prod_ca.crl(next_update=due)], deny=["spiffe://prod.example.org/ns/ci/**"])
    fields = change(mesh, revocations=with_list)
    told = fields.pop("meshid.lists.added")
    assert isinstance(told, list)
    assert told[0].endswith(f" until {due.isoformat()} of 'CN=root,O=prod.example.org'")
    assert fields == {"meshid.denials.added": ["spiffe://prod.example.org/ns/ci/**"]}
    assert change(mesh, revocations=Revocations()) == {
        "meshid.lists.removed": told,
        "meshid.denials.removed": ["spiffe://prod.example.org/ns/ci/**"],
    }


def test_whoever_fills_a_file_fills_no_log(mesh: Mesh) -> None:
    deny = [f"spiffe://prod.example.org/ns/n{number}" for number in range(MAX_NAMED + 5)]
    names = change(mesh, revocations=Revocations(deny=deny))["meshid.denials.added"]
    assert isinstance(names, list)
    assert len(names) == MAX_NAMED + 1
    assert names[-1] == "and 5 more"


def as_line(event: RefreshEvent) -> dict[str, object]:
    record = logging.makeLogRecord(
        {"levelname": "INFO", "created": 0.0, "msg": "a sentence", "meshid": event}
    )
    return dict(json.loads(JsonFormatter().format(record)))


LINE = {"level": "INFO", "time": "1970-01-01T00:00:00.000+00:00", "message": "a sentence"}


class TestEvents:
    def test_a_change_names_the_sources_that_brought_it(self, mesh: Mesh) -> None:
        before: Snapshot = mesh.snapshot
        now = mesh.publish(policy=rules())
        line = as_line(RefreshEvent.of_change(before, now, ["policy 'policy.toml'"]))
        assert line.items() >= LINE.items()
        assert line["meshid.sources"] == ["policy 'policy.toml'"]
        assert line["event.name"] == "meshid.refresh.changed"
        assert line["meshid.rules.removed"] == [each.id for each in policy().rules]

    def test_an_alarm_begins_and_ends(self) -> None:
        alarm = Alarm(level=AlarmLevel.ERROR, about="policy", text="there is none", is_outage=True)
        assert as_line(RefreshEvent.of_alarm(alarm, "policy")) == {
            **LINE,
            "event.name": "meshid.refresh.alarm",
            "meshid.alarm.level": "error",
            "meshid.alarm.about": "policy",
            "meshid.alarm.text": "there is none",
            "meshid.alarm.is_outage": True,
            "meshid.part": "policy",
        }
        assert as_line(RefreshEvent.of_recovery("policy")) == {
            **LINE,
            "event.name": "meshid.refresh.recovered",
            "meshid.alarm.about": "policy",
        }
