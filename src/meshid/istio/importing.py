"""Istio's `AuthorizationPolicy` to a policy file: exactly, or refused with the field that has no equivalent.

The rules of this module:

- A target is ``namespace/app``: the namespace of the policy and the label ``app`` of its
  selector. Without a selector it is ``namespace/**``, or ``**`` in the mesh's root namespace.
- ``cluster.local`` and the environment's trust domains are its own; every other trust
  domain that a principal names is one that it federates with.
- AUDIT only records, so it becomes an allow rule that observes.
- An unknown field is refused, not skipped: it would have narrowed the rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeGuard

import attrs

from meshid.errors import InvalidInput, InvalidIstioPolicy, Problem
from meshid.istio.matches import (
    MESH,
    path_pattern,
    sources_of_account,
    sources_of_namespace,
    sources_of_principal,
)
from meshid.istio.writing import policy_file
from meshid.istio.yaml_documents import documents
from meshid.policy.file.loading import read_toml
from meshid.policy.file.strings import condition, source, target, trust_domain
from meshid.support.quoting import quote

KIND = "AuthorizationPolicy"
ROOT_NAMESPACE = "istio-system"
_VERSIONS = ("security.istio.io/v1", "security.istio.io/v1beta1")
_APP_LABELS = ("app", "app.kubernetes.io/name")
_ACTIONS = {"ALLOW": "allow", "DENY": "deny", "AUDIT": "allow"}
_INNER = {"from": "source", "to": "operation"}
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_SOURCE_FIELDS = ("principals", "namespaces", "serviceAccounts")
_OPERATION_FIELDS = ("methods", "paths")
_NO_EQUIVALENT = "has no exact equivalent in a policy file; write the rule in another way, or by hand"

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
    """Import every `AuthorizationPolicy` in YAML files.

    Args:
        sources: The name and the content of each file; names are only for messages.
        environment: The name of the environment that the policy file is for.
        trust_domains: The trust domains of that environment, the mesh's own first.

    Returns:
        The policy file, and notes about it.

    Raises:
        InvalidIstioPolicy: With every field that has no exact equivalent, and every error.
        InvalidPolicy: If the result cannot be loaded, for example because it is too large.
        MissingExtra: Without the extra ``yaml``.
    """
    reader = _Reader(trust_domains)
    policies = list(reader.policies(sources))
    reader.learn_domains(policies)
    rules = [rule for policy in policies for rule in reader.rules(policy)]
    if reader.problems:
        raise InvalidIstioPolicy(tuple(reader.problems))
    text = policy_file(environment, trust_domains, reader.federated, rules)
    read_toml(text, environment)
    return Imported(text, (*reader.notes, *NOTES))


@attrs.frozen
class _Policy:
    """One document, and where it is."""

    file: str
    namespace: str
    name: str
    spec: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{quote(self.file)}: {self.namespace}/{self.name}"


class _Reader:
    """Reads documents and collects their problems."""

    def __init__(self, own: Sequence[str]) -> None:
        self.own = own
        self.federated: list[str] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self._ids: set[str] = set()
        for each in own:
            self._try("--trust-domain", trust_domain, each)

    def _fail(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))

    def _try(self, where: str, read: Callable[..., Any], *given: object) -> Any:  # noqa: ANN401 - what *read* gives
        try:
            return read(*given)
        except InvalidInput as error:
            self._fail(where, str(error))
            return None

    # -- Documents ------------------------------------------------------------

    def policies(self, sources: Iterable[tuple[str, bytes]]) -> Iterator[_Policy]:
        for file, data in sources:
            for document in self._try(quote(file), lambda data: list(documents(data)), data) or ():
                policy = self._policy(file, document)
                if policy is not None:
                    yield policy

    def _policy(self, file: str, document: object) -> _Policy | None:
        if document is None:
            return None
        if not isinstance(document, dict) or document.get("kind") != KIND:
            kind = document.get("kind") if isinstance(document, dict) else document
            self.notes.append(f"{quote(file)}: skipped {quote(str(kind)[:64])}, which is not an {KIND}")
            return None
        metadata = document.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        name, namespace = metadata.get("name"), metadata.get("namespace")
        where = f"{quote(file)}: {quote(str(name))}"
        if document.get("apiVersion") not in _VERSIONS:
            self._fail(f"{where}: apiVersion", f"must be one of: {', '.join(_VERSIONS)}")
        if not (_is_name(name) and _is_name(namespace)):
            self._fail(
                f"{where}: metadata",
                "must have a name, and a namespace, which decides what is selected",
            )
            return None
        spec = document.get("spec")
        if spec is not None and not isinstance(spec, dict):
            self._fail(f"{where}: spec", "must be a mapping")
            return None
        return _Policy(file, namespace, name, spec or {})

    def learn_domains(self, policies: Iterable[_Policy]) -> None:
        """Find the trust domains that principals name; ``*`` means the peers of these, too."""
        found: dict[str, None] = {}
        for policy in policies:
            for principal in _principals(policy.spec):
                domain, slash, _ = principal.partition("/")
                if slash and _DOMAIN.fullmatch(domain):
                    found.setdefault(domain)
        self.federated = [each for each in found if each not in {MESH, *self.own}]

    # -- A policy -------------------------------------------------------------

    def rules(self, policy: _Policy) -> Iterator[dict[str, object]]:
        spec = policy.spec
        self._known(policy.where, "spec", spec, ("selector", "action", "rules"))
        action = spec.get("action", "ALLOW")
        if not isinstance(action, str) or action not in _ACTIONS:
            self._fail(f"{policy.where}: spec.action", f"{quote(str(action))} {_NO_EQUIVALENT}")
            return
        targets = self._targets(policy)
        rules = spec.get("rules") or []
        if not isinstance(rules, list):
            self._fail(f"{policy.where}: spec.rules", "must be a list")
            return
        if not rules:
            self.notes.append(f"{policy.where}: has no rules, so it {_ACTIONS[action].lower()}s nothing")
        for number, rule in enumerate(rules):
            read = self._rule(policy, f"spec.rules[{number}]", rule)
            if read is not None and targets is not None:
                yield {
                    "effect": _ACTIONS[action],
                    "id": self._id(policy, number),
                    "why": f"Istio {KIND} {policy.namespace}/{policy.name}, rule {number}.",
                    "from": read[0],
                    "to": [targets],
                    "http": read[1],
                    "observe": action == "AUDIT",
                }

    def _id(self, policy: _Policy, number: int) -> str:
        slug = f"{policy.namespace}.{policy.name}"[:48]
        identifier, again = f"{slug}.{number}", 2
        while identifier in self._ids:
            identifier, again = f"{slug}.{number}-{again}", again + 1
        self._ids.add(identifier)
        return identifier

    def _targets(self, policy: _Policy) -> str | None:
        selector = policy.spec.get("selector")
        if selector is None:
            return "**" if policy.namespace == ROOT_NAMESPACE else f"{policy.namespace}/**"
        where = f"{policy.where}: spec.selector"
        labels = selector.get("matchLabels") if isinstance(selector, dict) and len(selector) == 1 else None
        if not isinstance(labels, dict) or len(labels) != 1 or not set(labels) & set(_APP_LABELS):
            self._fail(
                where,
                f"must be matchLabels with one label, {' or '.join(_APP_LABELS)}; any other {_NO_EQUIVALENT}",
            )
            return None
        if policy.namespace == ROOT_NAMESPACE:
            self._fail(where, f"in {ROOT_NAMESPACE} it selects in every namespace, and {_NO_EQUIVALENT}")
            return None
        (app,) = labels.values()
        name = f"{policy.namespace}/{app}"
        if not isinstance(app, str) or "*" in name or self._try(where, target, name) is None:
            self._fail(where, f"{quote(str(app))} is not the name of a workload")
            return None
        return name

    def _rule(self, policy: _Policy, at: str, rule: object) -> tuple[list[str], list[str]] | None:
        if not isinstance(rule, dict):
            self._fail(f"{policy.where}: {at}", "must be a mapping")
            return None
        before = len(self.problems)
        self._known(policy.where, at, rule, ("from", "to"))
        sources = self._union(policy, at, rule, "from", self._source)
        conditions = self._union(policy, at, rule, "to", self._operation)
        if len(self.problems) > before:
            return None
        # Without a list, every peer is meant, or every request.
        everybody = sources_of_principal("*", self.federated, self.own)
        return everybody if sources is None else sources, conditions or []

    def _union(
        self,
        policy: _Policy,
        at: str,
        rule: dict[str, Any],
        key: str,
        read: Callable[[_Policy, str, dict[str, Any]], list[str]],
    ) -> list[str] | None:
        """Return the union of the entries of a list; None if it is missing, which means everything."""
        if rule.get(key) is None:
            return None
        entries, inner = rule[key], _INNER[key]
        if not isinstance(entries, list) or not entries:
            self._fail(f"{policy.where}: {at}.{key}", "must be a list that is not empty")
            return None
        found: dict[str, None] = {}
        for number, entry in enumerate(entries):
            place = f"{at}.{key}[{number}]"
            if not isinstance(entry, dict) or set(entry) != {inner} or not isinstance(entry[inner], dict):
                self._fail(f"{policy.where}: {place}", f"must be a mapping with {inner!r}, and nothing else")
                continue
            found |= dict.fromkeys(read(policy, f"{place}.{inner}", entry[inner]))
        return list(found)

    # -- Sources and operations -----------------------------------------------

    def _source(self, policy: _Policy, at: str, fields: dict[str, Any]) -> list[str]:
        self._known(policy.where, at, fields, _SOURCE_FIELDS)
        given = [name for name in _SOURCE_FIELDS if name in fields]
        if not fields:
            self._fail(f"{policy.where}: {at}", "names no peer")
        if len(given) > 1:
            self._fail(f"{policy.where}: {at}", f"{' and '.join(given)} together {_NO_EQUIVALENT}")
        readers: dict[str, Callable[[str], list[str]]] = {
            "principals": lambda text: sources_of_principal(text, self.federated, self.own),
            "namespaces": lambda text: sources_of_namespace(text, self.federated),
            "serviceAccounts": lambda text: sources_of_account(text, policy.namespace, self.federated),
        }
        found: list[str] = []
        for name in given:
            for place, text in self._texts(f"{policy.where}: {at}.{name}", fields[name]):
                patterns = self._try(place, readers[name], text) or []
                found += [each for each in patterns if self._try(place, source, each) is not None]
        return found

    def _operation(self, policy: _Policy, at: str, fields: dict[str, Any]) -> list[str]:
        self._known(policy.where, at, fields, _OPERATION_FIELDS)
        if not fields:
            self._fail(f"{policy.where}: {at}", "names no request")
        methods = [
            text for _, text in self._texts(f"{policy.where}: {at}.methods", fields.get("methods", ["*"]))
        ]
        paths = [
            pattern
            for place, text in self._texts(f"{policy.where}: {at}.paths", fields.get("paths", ["*"]))
            if (pattern := self._try(place, path_pattern, text)) is not None
        ]
        conditions = [f"{method} {path}" for method in methods for path in paths]
        where = f"{policy.where}: {at}"
        return [each for each in conditions if self._try(where, condition, each) is not None]

    def _texts(self, where: str, value: object) -> list[tuple[str, str]]:
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            self._fail(where, "must be a list of strings")
            return []
        return [(f"{where}[{number}]", text) for number, text in enumerate(value)]

    def _known(self, where: str, at: str, fields: dict[str, Any], known: tuple[str, ...]) -> None:
        for name in fields:
            if name not in known:
                self._fail(f"{where}: {at}.{quote(name)[1:-1]}", _NO_EQUIVALENT)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _principals(spec: dict[str, Any]) -> Iterator[str]:
    """Find the principals, even in a document that is otherwise wrong."""
    waiting: list[Any] = [spec]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, dict):
            principals = each.get("principals")
            yield from (
                (text for text in principals if isinstance(text, str)) if isinstance(principals, list) else ()
            )
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
