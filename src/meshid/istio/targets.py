"""What targets are called: ``namespace/app``, with more parts where Istio's policies tell more apart.

A selector selects the workloads that have all of its labels. So a target is called by its
namespace, by its value of each label that some selector of that namespace names, and by its port,
if a policy names one: two workloads that a policy tells apart have two names. The labels of
selectors in the root namespace come first, everywhere, because these select in every namespace.
A DENY is about names that lack the last parts, too: whoever leaves them out loses no protection.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from meshid.istio.fields import PORT_KEY
from meshid.istio.policies import IstioPolicy
from meshid.istio.problems import NO_EQUIVALENT, Problems
from meshid.policy.file.strings import target
from meshid.support.quoting import quote

ROOT_NAMESPACE = "istio-system"

NO_LABEL = "-"
"""In the place of a label that a workload does not have; no label has this value."""

MAX_LABELS = 8
"""Labels that selectors of one namespace name; real ones name one or two. Each is a part of a target."""

_USUAL = ("app", "app.kubernetes.io/name")
_KEY = re.compile(r"[A-Za-z0-9._/-]{1,317}", re.ASCII)


class TargetReader:
    """Reads selectors, and names targets.

    Attributes:
        notes: What to know, one sentence each.
    """

    def __init__(self, problems: Problems, policies: Sequence[IstioPolicy]) -> None:
        self._problems = problems
        self._has_ports = any(map(_names_ports, policies))
        self._selected = {
            (policy.namespace, policy.name): self._selector(policy.where, policy.spec) for policy in policies
        }
        keys: dict[str, set[str]] = {}
        for (namespace, _), labels in self._selected.items():
            keys.setdefault(namespace, set()).update(labels or ())
        for namespace, found in keys.items():
            if len(found) > MAX_LABELS:
                what = f"selectors name {len(found)} labels, and a target has {MAX_LABELS} of them at most"
                problems.add(namespace, what)
                # The import ends here: each name would be as long as that.
                problems.check()
        self._root = _in_order(keys.pop(ROOT_NAMESPACE, set()))
        self._keys = {
            namespace: (*self._root, *_in_order(found - set(self._root))) for namespace, found in keys.items()
        }

    @property
    def notes(self) -> list[str]:
        """How services must be called, one sentence each."""
        port, example = ("/port", "/8080") if self._has_ports else ("", "")
        notes = [
            (
                f"targets are called namespace/app{port}: name each service like that,"
                f" as in Mesh(service='shop/payments{example}')"
            )
        ]
        names = {**self._keys, **({"every other namespace": self._root} if self._root else {})}
        notes += [
            (
                f"in {namespace}, app is the value of the label{'s' if len(keys) > 1 else ''}"
                f" {'/'.join(keys)}; write {NO_LABEL!r} for one that a service lacks"
            )
            for namespace, keys in names.items()
            if keys not in ((), ("app",))
        ]
        return notes

    def is_known(self, policy: IstioPolicy) -> bool:
        """Tell whether the selector of a policy could be read."""
        return self._selected[policy.namespace, policy.name] is not None

    def targets(self, policy: IstioPolicy, ports: Sequence[str], *, is_deny: bool) -> list[str]:
        """Return the patterns of the targets of a policy, on some ports, or on all if there are none."""
        is_root = policy.namespace == ROOT_NAMESPACE
        labels = self._selected[policy.namespace, policy.name] or {}
        keys = self._root if is_root else self._keys[policy.namespace]
        count = max((number for number, key in enumerate(keys, start=1) if key in labels), default=0)
        parts = ["*" if is_root else policy.namespace, *(labels.get(key, "*") for key in keys[:count])]
        if not ports:
            return self._on_all_ports(parts, more=is_root or len(keys) > count, is_deny=is_deny)
        parts += ["*"] * (max(len(keys), 1) - count)
        # Each namespace may have more labels than the root namespace.
        more = ["**"] if is_root else []
        found = ["/".join([*parts, *more, port]) for port in ports]
        return found + (_shorter([*parts, ""]) if is_deny else [])

    def _on_all_ports(self, parts: list[str], *, more: bool, is_deny: bool) -> list[str]:
        if len(parts) == 1:
            return ["**" if parts == ["*"] else f"{parts[0]}/**"]
        last = ["**"] if more or self._has_ports else []
        return ["/".join(parts + last)] + (_shorter(parts) if is_deny else [])

    def _selector(self, where: str, spec: dict[str, Any]) -> dict[str, str] | None:
        """Return the labels of a selector; None if it is wrong."""
        selector = spec.get("selector")
        if selector is None:
            return {}
        where = f"{where}: spec.selector"
        labels = selector.get("matchLabels", {}) if isinstance(selector, dict) else None
        if not isinstance(labels, dict) or set(selector) - {"matchLabels"}:
            self._problems.add(where, f"must be matchLabels; anything else {NO_EQUIVALENT}")
            return None
        wrong = [f"{key}: {value}" for key, value in labels.items() if not _is_label(key, value)]
        for each in wrong:
            self._problems.add(where, f"{quote(each)} is not the label of a workload")
        return None if wrong else labels


def _is_label(key: str, value: object) -> bool:
    if not isinstance(value, str) or set(value) & {"*", "/"} or value == NO_LABEL:
        return False
    return _KEY.fullmatch(key) is not None and Problems().attempt("", target, value) is not None


def _in_order(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(keys, key=lambda key: (_USUAL.index(key) if key in _USUAL else len(_USUAL), key)))


def _shorter(parts: Sequence[str]) -> list[str]:
    """Return the names that lack parts at the end; a namespace alone is none."""
    return ["/".join(parts[:count]) for count in range(2, len(parts))]


def _names_ports(policy: IstioPolicy) -> bool:
    return any("ports" in each or each.get("key") == PORT_KEY for each in mappings(policy.spec))


def mappings(value: object) -> Iterator[dict[str, Any]]:
    """Find every mapping, even in a document that is otherwise wrong."""
    waiting: deque[Any] = deque([value])
    while waiting:
        each = waiting.popleft()
        if isinstance(each, dict):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
