"""Istio's `AuthorizationPolicy` to a policy file: exactly, or refused with the field that has no equivalent.

The rules of this module:

- Where Istio's proxies differ from each other, an ALLOW means what all of them let in, and a DENY
  what any of them refuses.
- A target is ``namespace/app``: the namespace of the policy and the label ``app`` of its
  selector. Without a selector it is ``namespace/**``, or ``**`` in the mesh's root namespace.
- ``cluster.local`` and the environment's trust domains are its own, in a principal of five parts;
  every other trust domain that a principal names is one that it federates with.
- AUDIT, and a dry run, only record, so they become rules that observe.
- An unknown field is refused, not skipped: it would have narrowed the rule.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from meshid.errors import InvalidSpiffeId
from meshid.istio.matches import MESH, Sources, is_mistaken_for_ours, path_pattern, trust_domain_of
from meshid.istio.policies import KIND, NO_EQUIVALENT, IstioPolicy, PolicyReader
from meshid.istio.problems import Problems
from meshid.istio.writing import policy_file
from meshid.policy.file.loading import read_toml
from meshid.policy.file.strings import condition, source, target, trust_domain
from meshid.support.quoting import escaped, quote

ROOT_NAMESPACE = "istio-system"

MAX_PATTERNS = 100_000
"""Patterns and conditions of a policy file; a rule for everybody has one for each trust domain."""

_APP_LABELS = ("app", "app.kubernetes.io/name")
_ACTIONS = {"ALLOW": "allow", "DENY": "deny", "AUDIT": "allow"}
_INNER = {"from": "source", "to": "operation"}
_SOURCE_FIELDS = ("principals", "namespaces", "serviceAccounts")
_OPERATION_FIELDS = ("methods", "paths")

NOTES = (
    "targets are called namespace/app: name each service like that, as in Mesh(service='shop/payments')",
    "Istio lets everybody reach a workload that no ALLOW policy selects; here, nobody may",
)


@attrs.frozen
class Imported:
    """The result of an import.

    Attributes:
        toml: The text of the policy file, in TOML.
        notes: What to know before using it, one sentence each.
    """

    toml: str
    notes: tuple[str, ...]


def import_istio(
    sources: Iterable[tuple[str, bytes]], *, environment: str, trust_domains: Sequence[str]
) -> Imported:
    """Import every `AuthorizationPolicy` in YAML files, alone or in a ``List``, as `kubectl` prints it.

    Args:
        sources: The name and the content of each file; names are only for messages.
        environment: The name of the environment that the policy file is for.
        trust_domains: The trust domains of that environment, the mesh's own first.

    Returns:
        The policy file, and notes about it.

    Raises:
        InvalidIstioPolicy: With every object that is not imported, every field that has no exact
            equivalent, and every error.
        InvalidPolicy: If the result cannot be loaded, for example because it is too large.
        MissingExtra: Without the extra ``yaml``.
    """
    problems = Problems()
    own = [str(problems.attempt("--trust-domain", trust_domain, each)) for each in trust_domains]
    files = PolicyReader(problems)
    policies = files.policies(sources)
    federated = _federated(policies, own)
    reader = RuleReader(problems, own, federated)
    rules = [rule for policy in policies for rule in reader.rules(policy)]
    problems.check()
    text = policy_file(environment, own, federated, rules)
    read_toml(text, environment)
    return Imported(text, (*files.notes, *reader.notes, *NOTES))


def _federated(policies: Iterable[IstioPolicy], own: Sequence[str]) -> list[str]:
    """Return the trust domains of others that principals name; ``*`` means the peers of these, too."""
    named = (trust_domain_of(text, own) for policy in policies for text in _principals(policy.spec))
    return [each for each in dict.fromkeys(named) if each is not None and _is_trust_domain(each)]


def _is_trust_domain(text: str) -> bool:
    try:
        trust_domain(text)
    except InvalidSpiffeId:
        return False
    return True


class RuleReader:
    """Reads the rules of policies and collects their problems.

    Attributes:
        notes: What to know, one sentence each.
    """

    def __init__(self, problems: Problems, own: Sequence[str], federated: Sequence[str]) -> None:
        self.notes: list[str] = []
        self._problems = problems
        self._own = own
        self._federated = federated
        self._patterns = 0
        self._ids: Counter[str] = Counter()
        self._labels: dict[str, str] = {}

    def rules(self, policy: IstioPolicy) -> Iterator[dict[str, object]]:
        """Yield the tables of one policy; a rule with a problem is left out."""
        spec = policy.spec
        self._known(policy.where, "spec", spec, ("selector", "action", "rules"))
        action = spec.get("action", "ALLOW")
        if not isinstance(action, str) or action not in _ACTIONS:
            self._problems.add(f"{policy.where}: spec.action", f"{quote(str(action))} {NO_EQUIVALENT}")
            return
        targets = self._targets(policy)
        rules = spec.get("rules") or []
        if not isinstance(rules, list):
            self._problems.add(f"{policy.where}: spec.rules", "must be a list")
            return
        if not rules:
            self.notes.append(f"{policy.where}: has no rules, so it {_ACTIONS[action]}s nothing")
        sources = Sources(self._own, self._federated, policy.namespace, is_deny=action == "DENY")
        for number, rule in enumerate(rules):
            read = self._rule(policy, f"spec.rules[{number}]", rule, sources)
            if read is not None and targets is not None:
                yield {
                    "effect": _ACTIONS[action],
                    "id": self._id(policy, number),
                    "why": f"Istio {KIND} {policy.namespace}/{policy.name}, rule {number}.",
                    "from": read[0],
                    "to": [targets],
                    "http": read[1],
                    "observe": action == "AUDIT" or policy.is_dry_run,
                }

    def _id(self, policy: IstioPolicy, number: int) -> str:
        identifier = f"{f'{policy.namespace}.{policy.name}'[:48]}.{number}"
        self._ids[identifier] += 1
        # Only one with a suffix ends in other than a number.
        again = self._ids[identifier]
        return identifier if again == 1 else f"{identifier}-{again}"

    def _targets(self, policy: IstioPolicy) -> str | None:
        selector = policy.spec.get("selector")
        if selector is None:
            if policy.namespace != ROOT_NAMESPACE:
                return f"{policy.namespace}/**"
            self.notes.append(f"{policy.where}: is for all targets, if meshConfig has no other rootNamespace")
            return "**"
        where = f"{policy.where}: spec.selector"
        labels = selector.get("matchLabels") if isinstance(selector, dict) and len(selector) == 1 else None
        if not isinstance(labels, dict) or len(labels) != 1 or not set(labels) & set(_APP_LABELS):
            self._problems.add(
                where,
                f"must be matchLabels with one label, {' or '.join(_APP_LABELS)}; any other {NO_EQUIVALENT}",
            )
            return None
        if policy.namespace == ROOT_NAMESPACE:
            self._problems.add(
                where, f"in {ROOT_NAMESPACE} it selects in every namespace, and {NO_EQUIVALENT}"
            )
            return None
        ((label, app),) = labels.items()
        name = f"{policy.namespace}/{app}"
        if not isinstance(app, str) or "*" in name or self._problems.attempt(where, target, name) is None:
            self._problems.add(where, f"{quote(str(app))} is not the name of a workload")
            return None
        if (other := self._labels.setdefault(name, label)) != label:
            what = f"selects {quote(app)} by the label {label}, and another policy by {other}; use one"
            self._problems.add(where, what)
        return name

    def _rule(
        self, policy: IstioPolicy, at: str, rule: object, sources: Sources
    ) -> tuple[list[str], list[str]] | None:
        if not isinstance(rule, dict):
            self._problems.add(f"{policy.where}: {at}", "must be a mapping")
            return None
        before = self._problems.count
        self._known(policy.where, at, rule, ("from", "to"))
        peers = self._union(
            policy, at, rule, "from", lambda at, fields: self._source(policy, at, fields, sources)
        )
        conditions = self._union(
            policy, at, rule, "to", lambda at, fields: self._operation(policy, at, fields)
        )
        if self._problems.count > before:
            return None
        if peers is None:
            # Without a list, every peer is meant, or every request.
            self._spend(sources.domains)
            peers = sources.of_principal("*")
        return peers, conditions or []

    def _union(
        self,
        policy: IstioPolicy,
        at: str,
        rule: dict[str, Any],
        key: str,
        read: Callable[[str, dict[str, Any]], list[str]],
    ) -> list[str] | None:
        """Return the union of the entries of a list; None if it is missing, which means everything."""
        if rule.get(key) is None:
            return None
        entries, inner = rule[key], _INNER[key]
        if not isinstance(entries, list) or not entries:
            self._problems.add(f"{policy.where}: {at}.{key}", "must be a list that is not empty")
            return None
        found: dict[str, None] = {}
        for number, entry in enumerate(entries):
            place = f"{at}.{key}[{number}]"
            if not isinstance(entry, dict) or set(entry) != {inner} or not isinstance(entry[inner], dict):
                self._problems.add(
                    f"{policy.where}: {place}", f"must be a mapping with {inner!r}, and nothing else"
                )
                continue
            found |= dict.fromkeys(read(f"{place}.{inner}", entry[inner]))
        return list(found)

    # -- Sources and operations -----------------------------------------------

    def _source(self, policy: IstioPolicy, at: str, fields: dict[str, Any], sources: Sources) -> list[str]:
        self._known(policy.where, at, fields, _SOURCE_FIELDS)
        given = [name for name in _SOURCE_FIELDS if name in fields]
        if not fields:
            self._problems.add(f"{policy.where}: {at}", "names no peer")
        if len(given) > 1:
            self._problems.add(f"{policy.where}: {at}", f"{' and '.join(given)} together {NO_EQUIVALENT}")
        readers: dict[str, Callable[[str], list[str]]] = {
            "principals": sources.of_principal,
            "namespaces": sources.of_namespace,
            "serviceAccounts": sources.of_account,
        }
        found: list[str] = []
        for name in given:
            for place, text in self._texts(f"{policy.where}: {at}.{name}", fields[name]):
                self._spend(sources.domains)
                patterns = self._problems.attempt(place, readers[name], text) or []
                found += [
                    each for each in patterns if self._problems.attempt(place, source, each) is not None
                ]
                if name == "principals" and is_mistaken_for_ours(text, self._own):
                    self.notes.append(
                        f"{place}: {quote(text)} has not five parts, so Istio takes {MESH} literally: "
                        "it means no peer of this mesh"
                    )
        return found

    def _operation(self, policy: IstioPolicy, at: str, fields: dict[str, Any]) -> list[str]:
        self._known(policy.where, at, fields, _OPERATION_FIELDS)
        if not fields:
            self._problems.add(f"{policy.where}: {at}", "names no request")
        methods = [
            text for _, text in self._texts(f"{policy.where}: {at}.methods", fields.get("methods", ["*"]))
        ]
        paths = [
            pattern
            for place, text in self._texts(f"{policy.where}: {at}.paths", fields.get("paths", ["*"]))
            if (pattern := self._problems.attempt(place, path_pattern, text)) is not None
        ]
        self._spend(len(methods) * len(paths))
        conditions = [f"{method} {path}" for method in methods for path in paths]
        where = f"{policy.where}: {at}"
        return [each for each in conditions if self._problems.attempt(where, condition, each) is not None]

    def _texts(self, where: str, value: object) -> list[tuple[str, str]]:
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            self._problems.add(where, "must be a list of strings")
            return []
        return [(f"{where}[{number}]", text) for number, text in enumerate(value)]

    def _known(self, where: str, at: str, fields: dict[str, Any], known: tuple[str, ...]) -> None:
        for name in fields:
            if name not in known:
                self._problems.add(f"{where}: {at}.{escaped(name)}", NO_EQUIVALENT)

    def _spend(self, count: int) -> None:
        """Count patterns before they are made: a few bytes of YAML can be the product of two lists."""
        self._patterns += count
        if self._patterns > MAX_PATTERNS:
            self._problems.add("", f"the policy file would have more than {MAX_PATTERNS} patterns")
            self._problems.check()


def _principals(spec: dict[str, Any]) -> Iterator[str]:
    """Find the principals, even in a document that is otherwise wrong."""
    waiting: deque[Any] = deque([spec])
    while waiting:
        each = waiting.popleft()
        if isinstance(each, dict):
            principals = each.get("principals")
            yield from (
                (text for text in principals if isinstance(text, str)) if isinstance(principals, list) else ()
            )
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
