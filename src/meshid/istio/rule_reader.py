"""Istio's rules to tables of a policy file: who, what and where, put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import product
from typing import Any, TypeVar

import attrs

from meshid.istio.fields import PORT_KEY, UNJUDGED, FieldReader, LeftOutError
from meshid.istio.kinds import KIND
from meshid.istio.operation_reader import OPERATION_FIELDS, IstioRequests, OperationReader
from meshid.istio.policies import IstioPolicy
from meshid.istio.source_reader import SOURCE_FIELDS, IstioPeers, Restriction, SourceReader
from meshid.istio.targets import TargetReader
from meshid.support.quoting import escaped, quote

_ACTIONS = {"ALLOW": "allow", "DENY": "deny", "AUDIT": "allow"}
_CUSTOM = (
    "lets an extension provider decide, which has no equivalent in a policy file"
    " ('without-custom' leaves it out, so that nobody asks the provider)"
)
_TARGET_REFS = "is obeyed by waypoints and gateways only, beside what other proxies obey, and all must allow"
_INNER = {"from": "source", "to": "operation"}

_Read = TypeVar("_Read")


@attrs.frozen
class _Conditions:
    """What ``when`` says of peers and of ports; both hold, beside ``from`` and ``to``."""

    peers: list[Restriction]
    ports: list[list[str]]


class RuleReader:
    """Reads the rules of policies."""

    def __init__(
        self, fields: FieldReader, targets: TargetReader, own: Sequence[str], federated: Sequence[str]
    ) -> None:
        self._fields = fields
        self._targets = targets
        self._own = own
        self._federated = federated
        self._ids: Counter[str] = Counter()

    def rules(self, policy: IstioPolicy) -> Iterator[dict[str, object]]:
        """Yield the tables of one policy; a rule with a problem is left out."""
        spec = policy.spec
        check_fields(
            self._fields, f"{policy.where}: spec", spec, ("selector", "targetRefs", "action", "rules")
        )
        action = spec.get("action", "ALLOW")
        if not isinstance(action, str) or action not in _ACTIONS:
            instead = _CUSTOM if action == "CUSTOM" else self._fields.why_unknown(str(action), _ACTIONS)
            self._fields.problems.add(f"{policy.where}: spec.action", f"{quote(str(action))} {instead}")
            return
        if "targetRefs" in spec:
            try:
                self._fields.unjudged(
                    f"{policy.where}: spec.targetRefs", _TARGET_REFS, is_deny=action == "DENY"
                )
            except LeftOutError:
                return
        rules = spec.get("rules") or []
        if not isinstance(rules, list):
            self._fields.problems.add(f"{policy.where}: spec.rules", "must be a list")
            return
        if not rules:
            self._fields.notes.append(f"{policy.where}: has no rules, so it {_ACTIONS[action]}s nothing")
        reader = PartReader(self._fields, policy, self._own, self._federated, is_deny=action == "DENY")
        for number, rule in enumerate(rules):
            before, told = self._fields.problems.count, len(self._fields.notes)
            where = f"{policy.where}: spec.rules[{number}]"
            parts = reader.parts(where, rule)
            if self._fields.problems.count > before or not self._targets.is_known(policy):
                continue
            for peers, requests in parts:
                if action == "DENY" and len(self._fields.notes) > told and _is_everything(peers, requests):
                    self._fields.notes.append(f"{where}: now denies everything to everybody")
                yield self._table(policy, action, number, peers, requests)

    def _table(
        self, policy: IstioPolicy, action: str, number: int, peers: IstioPeers, requests: IstioRequests
    ) -> dict[str, object]:
        targets = self._targets.targets(policy, requests.ports, is_deny=action == "DENY")
        return {
            "effect": _ACTIONS[action],
            "id": self._id(policy, number),
            "why": f"Istio {KIND} {policy.namespace}/{policy.name}, rule {number}.",
            "from": list(peers.named),
            "not_from": list(peers.left_out),
            "to": targets,
            "http": list(requests.http),
            "not_http": list(requests.not_http),
            "observe": action == "AUDIT" or policy.is_dry_run,
        }

    def _id(self, policy: IstioPolicy, number: int) -> str:
        identifier = f"{f'{policy.namespace}.{policy.name}'[:48]}.{number}"
        self._ids[identifier] += 1
        # Only one with a suffix ends in other than a number.
        again = self._ids[identifier]
        return identifier if again == 1 else f"{identifier}-{again}"


class PartReader:
    """Reads the rules of one policy: whom and what each is about."""

    def __init__(
        self,
        fields: FieldReader,
        policy: IstioPolicy,
        own: Sequence[str],
        federated: Sequence[str],
        *,
        is_deny: bool,
    ) -> None:
        self._fields = fields
        self._is_deny = is_deny
        self._sources = SourceReader(fields, own, federated, policy.namespace)
        self._operations = OperationReader(fields, is_deny=is_deny)

    def parts(self, at: str, rule: object) -> list[tuple[IstioPeers, IstioRequests]]:
        """Return whom and what a rule is about; each pair is a rule of its own."""
        before = self._fields.problems.count
        try:
            peers, requests = self._read(at, rule)
        except LeftOutError:
            return []
        if not (peers and requests) and self._fields.problems.count == before:
            self._fields.notes.append(f"{at}: is about nobody, or about nothing, and is left out")
        whom, what = _merged_peers(peers), _merged_requests(requests)
        if len(whom) * len(what) > 1:
            # What one part says is counted as it is read.
            self._fields.spend(sum(map(len, whom)) * len(what) + sum(map(len, what)) * len(whom))
        return list(product(whom, what))

    def _read(self, at: str, rule: object) -> tuple[list[IstioPeers], list[IstioRequests]]:
        if not isinstance(rule, dict):
            self._fields.problems.add(at, "must be a mapping")
            return [], []
        check_fields(self._fields, at, rule, ("from", "to", "when"))
        conditions = self._conditions(at, rule)
        peers = self._union(at, rule, "from", lambda at, fields: self._source(at, fields, conditions))
        requests = self._union(at, rule, "to", lambda at, fields: self._operation(at, fields, conditions))
        # Without a list, everybody is meant, or everything.
        if peers is None:
            peers = self._sources.peers(at, conditions.peers, is_deny=self._is_deny)
        if requests is None:
            requests = self._operations.requests(at, {}, conditions.ports)
        return peers, requests

    def _conditions(self, at: str, rule: dict[str, Any]) -> _Conditions:
        found = _Conditions([], [])
        entries = rule.get("when")
        if entries is None:
            return found
        if not isinstance(entries, list):
            self._fields.problems.add(f"{at}.when", "must be a list")
            return found
        for number, entry in enumerate(entries):
            place = f"{at}.when[{number}]"
            read = self._fields.condition(place, entry, is_deny=self._is_deny)
            if read is None:
                continue
            key, fields = read
            if key != PORT_KEY:
                found.peers.extend(self._sources.conditions(place, key, fields))
                continue
            if "notValues" in fields:
                self._fields.unjudged(f"{place}.notValues", UNJUDGED["notPorts"], is_deny=self._is_deny)
            if "values" in fields:
                found.ports.append(self._operations.ports(f"{place}.values", fields["values"]))
        return found

    def _source(self, at: str, fields: dict[str, Any], conditions: _Conditions) -> list[IstioPeers]:
        if not fields:
            # Sidecars take it for everybody, and the ztunnel for nobody.
            self._fields.problems.add(at, "names no peer; write whom it means, or leave 'from' out")
        self._fields.check_known(at, fields, SOURCE_FIELDS, is_deny=self._is_deny)
        restrictions = self._sources.restrictions(at, fields)
        return self._sources.peers(at, restrictions + conditions.peers, is_deny=self._is_deny)

    def _operation(self, at: str, fields: dict[str, Any], conditions: _Conditions) -> list[IstioRequests]:
        if not fields:
            self._fields.problems.add(at, "names no request")
        self._fields.check_known(at, fields, OPERATION_FIELDS, is_deny=self._is_deny)
        return self._operations.requests(at, fields, conditions.ports)

    def _union(
        self,
        at: str,
        rule: dict[str, Any],
        key: str,
        read: Callable[[str, dict[str, Any]], list[_Read]],
    ) -> list[_Read] | None:
        """Return what each entry of a list is about; None if there is no list, which means everything."""
        if rule.get(key) is None:
            return None
        entries, inner = rule[key], _INNER[key]
        found: list[_Read] = []
        if not isinstance(entries, list) or not entries:
            self._fields.problems.add(f"{at}.{key}", "must be a list that is not empty")
            return found
        for number, entry in enumerate(entries):
            place = f"{at}.{key}[{number}]"
            if not isinstance(entry, dict) or set(entry) != {inner} or not isinstance(entry[inner], dict):
                self._fields.problems.add(place, f"must be a mapping with {inner!r}, and nothing else")
                continue
            with suppress(LeftOutError):
                found += read(f"{place}.{inner}", entry[inner])
        return found


def check_fields(reader: FieldReader, where: str, fields: dict[str, Any], known: tuple[str, ...]) -> None:
    """Add a problem for each field that is not *known*."""
    for name in fields:
        if name not in known:
            reader.problems.add(f"{where}.{escaped(name)}", reader.why_unknown(name, known))


def _is_everything(peers: IstioPeers, requests: IstioRequests) -> bool:
    return "/**" in peers.named and not (peers.left_out or requests.http or requests.not_http)


def _merged_peers(found: list[IstioPeers]) -> list[IstioPeers]:
    """Put together what one rule of a policy file can say."""
    merged: dict[tuple[str, ...], dict[str, None]] = {}
    for each in found:
        merged.setdefault(each.left_out, {}).update(dict.fromkeys(each.named))
    return [IstioPeers(tuple(named), left_out) for left_out, named in merged.items()]


def _merged_requests(found: list[IstioRequests]) -> list[IstioRequests]:
    # One without conditions is about connections, too, and stays apart.
    merged: dict[tuple[tuple[str, ...], tuple[str, ...], bool], dict[str, None]] = {}
    for each in found:
        key = (each.ports, each.not_http, bool(each.http))
        merged.setdefault(key, {}).update(dict.fromkeys(each.http))
    return [IstioRequests(ports, tuple(http), not_http) for (ports, not_http, _), http in merged.items()]
