"""What the refresh did, for the record: as fields, beside the sentence for people.

The rules of this module:

- An event is a flat mapping of plain values, as an audit event is, so that one formatter and one index
  take both. Its names are those of the audit where both have the same thing.
- What was taken away is named as exactly as what was added: an auditor asks for the former.
- Each list of names ends after `MAX_NAMED`: whoever fills a file fills no log.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Self, TypeVar

import attrs
from cryptography import x509

from meshid.admission.snapshot import PARTS, Snapshot
from meshid.audit.event import ENVIRONMENT, EVENT_NAME, LOCAL_NAME, POLICY_HASH
from meshid.certificates.reading import fingerprint, to_der
from meshid.health.alarm import Alarm
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy
from meshid.policy.rules import Rule
from meshid.support.quoting import quote
from meshid.trust.crl import RevocationList
from meshid.trust.token_key import TokenKey

_T = TypeVar("_T")

MAX_NAMED = 20
"""How many of what was added or removed are named; the rest is counted."""

CHANGED = "meshid.refresh.changed"
ALARM = "meshid.refresh.alarm"
RECOVERED = "meshid.refresh.recovered"


@attrs.frozen(kw_only=True)
class RefreshEvent:
    """One thing that the refresh did or found; it is ``record.meshid`` of each line of ``meshid.refresh``.

    Attributes:
        name: ``meshid.refresh.changed``: another snapshot is in force. ``meshid.refresh.alarm``: an
            alarm has begun, or says something else. ``meshid.refresh.recovered``: it has ended.
        fields: What there is to it, under flat names: strings, numbers, and lists of strings.
    """

    name: str
    fields: Mapping[str, object]

    @classmethod
    def of_change(cls, before: Snapshot, now: Snapshot, sources: Iterable[str] = ()) -> Self:
        """Return the event of a new snapshot.

        Args:
            before: What was in force.
            now: What is in force.
            sources: The names of the sources that delivered what is new.
        """
        return cls(name=CHANGED, fields={"meshid.sources": list(sources), **changes_between(before, now)})

    @classmethod
    def of_alarm(cls, alarm: Alarm, part: str | None = None) -> Self:
        """Return the event of an alarm that has begun, or says something else.

        Args:
            alarm: The alarm; if it is about a source, that is its name.
            part: The part of the snapshot that is not what the sources say.
        """
        fields = {
            "meshid.alarm.level": str(alarm.level),
            "meshid.alarm.about": alarm.about,
            "meshid.alarm.text": alarm.text,
            "meshid.alarm.is_outage": alarm.is_outage,
            "meshid.part": part,
        }
        return cls(name=ALARM, fields=fields)

    @classmethod
    def of_recovery(cls, about: str) -> Self:
        """Return the event of an alarm that has ended.

        Args:
            about: What it was about.
        """
        return cls(name=RECOVERED, fields={"meshid.alarm.about": about})

    def as_dict(self) -> dict[str, object]:
        """Return the event as a flat mapping, without empty fields; a new one for each call."""
        fields = {EVENT_NAME: self.name, **self.fields}
        return {name: value for name, value in fields.items() if value is not None and value not in ("", [])}


def changes_between(before: Snapshot, now: Snapshot) -> dict[str, object]:
    """Return what differs between two snapshots, as flat fields; a part that is equal has none.

    Authorities and our own certificate are named by fingerprint (SHA-256, in hex) and end, lists too,
    with their issuer; rules by their ids, the policy by its hash; keys for tokens by thumbprint and key id.

    Args:
        before: What was in force.
        now: What is in force.
    """
    parts = [part for part in PARTS if getattr(before, part) != getattr(now, part)]
    # That the same keys count for longer is no news.
    if "keys" in parts and now.keys.has_keys_of(before.keys):
        parts.remove("keys")
    fields: dict[str, object] = {"meshid.generation": now.generation, "meshid.parts": parts}
    if "credentials" in parts:
        fields[LOCAL_NAME] = now.name and str(now.name)
        fields |= _difference("certificates", _own(before), _own(now), _certificate)
    if "bundles" in parts:
        fields |= _difference("bundles", before.bundles, now.bundles, str)
        fields |= _difference("authorities", _authorities(before), _authorities(now), _authority)
        fields |= _difference("jwt_keys", _jwt_keys(before), _jwt_keys(now), _key)
    if "revocations" in parts:
        old, new = before.revocations, now.revocations
        fields |= _difference("lists", old.crls, new.crls, _list)
        fields |= _difference("unusable_lists", old.undetermined, new.undetermined, lambda each: each.text)
        fields |= _difference("denials", old.deny, new.deny, str)
    if "policy" in parts:
        fields |= _policy(before.policy, now.policy)
    if "keys" in parts:
        fields |= _difference("keys", _keys(before), _keys(now), _key)
    return fields


def _policy(before: Policy | None, now: Policy | None) -> dict[str, object]:
    old, new = _rules(before), _rules(now)
    edited = [id_ for id_ in old.keys() & new.keys() if old[id_] != new[id_]]
    return {
        ENVIRONMENT: now and now.environment.name,
        POLICY_HASH: now and now.hash,
        "meshid.policy.hash.before": before and before.hash,
        "meshid.policy.observe": now and now.observe,
        "meshid.rules.changed": _named(edited, str),
        **_difference("rules", old, new, str),
    }


def _rules(policy: Policy | None) -> dict[str, Rule]:
    """Return the rules by their ids, without what decides nothing."""
    rules = policy.rules if policy else ()
    return {rule.id: attrs.evolve(rule, why="", owner="", reviewer="", place="") for rule in rules}


def _own(snapshot: Snapshot) -> tuple[x509.Certificate, ...]:
    return () if snapshot.credentials is None else (snapshot.credentials.leaf,)


def _authorities(snapshot: Snapshot) -> set[tuple[TrustDomain, x509.Certificate]]:
    return {(domain, each) for domain, bundle in snapshot.bundles.items() for each in bundle.authorities}


def _jwt_keys(snapshot: Snapshot) -> set[tuple[str, TokenKey]]:
    return {(str(domain), key) for domain, bundle in snapshot.bundles.items() for key in bundle.jwt_keys}


def _authority(each: tuple[TrustDomain, x509.Certificate]) -> str:
    domain, certificate = each
    return f"{domain} {_certificate(certificate)}"


def _certificate(certificate: x509.Certificate) -> str:
    return f"{fingerprint(to_der(certificate))} until {certificate.not_valid_after_utc.isoformat()}"


def _list(each: RevocationList) -> str:
    due = each.crl.next_update_utc
    issuer = quote(each.crl.issuer.rfc4514_string())
    return f"{each.fingerprint.hex()} until {due and due.isoformat()} of {issuer}"


def _keys(snapshot: Snapshot) -> set[tuple[str, TokenKey]]:
    return {(name, key) for name, keys in snapshot.keys.items() for key in keys.keys}


def _key(each: tuple[str, TokenKey]) -> str:
    issuer, key = each
    return f"{quote(issuer)} {key.thumbprint} {'' if key.key_id is None else quote(key.key_id)}".rstrip()


def _difference(
    what: str, old: Iterable[_T], new: Iterable[_T], text: Callable[[_T], str]
) -> dict[str, object]:
    was, is_ = set(old), set(new)
    added, removed = _named(is_ - was, text), _named(was - is_, text)
    return {f"meshid.{what}.added": added, f"meshid.{what}.removed": removed}


def _named(values: Collection[_T], text: Callable[[_T], str]) -> list[str]:
    """Name the values, the first of them if there are many: none of the others is even made a text."""
    names = sorted(map(text, islice(values, MAX_NAMED)))
    more = len(values) - len(names)
    return [*names, f"and {more} more"] if more else names
