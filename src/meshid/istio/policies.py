"""Documents to Istio's policies: what could be a DENY is never passed over.

`kubectl get -o yaml` prints one document of the kind ``List``, with the policies inside.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeGuard

import attrs

from meshid.istio.kinds import KIND, passed_over
from meshid.istio.problems import NO_EQUIVALENT, Problems
from meshid.istio.yaml_documents import documents
from meshid.support.quoting import escaped, quote

_VERSIONS = ("security.istio.io/v1", "security.istio.io/v1beta1")
_LISTS = {"List": ("v1",), f"{KIND}List": _VERSIONS}
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_DRY_RUN = "istio.io/dry-run"
_REVISION = "istio.io/rev"
_SHOWN = 64


@attrs.frozen
class IstioPolicy:
    """One policy, and where it is.

    Attributes:
        file: The file that it is in.
        namespace: Its namespace.
        name: Its name.
        spec: What it says, unread.
        is_dry_run: Whether Istio only records what it would decide.
    """

    file: str
    namespace: str
    name: str
    spec: dict[str, Any]
    is_dry_run: bool

    @property
    def where(self) -> str:
        """The place for messages."""
        return f"{quote(self.file)}: {self.namespace}/{self.name}"


class PolicyReader:
    """Reads files and collects their problems.

    Attributes:
        notes: What to know, one sentence each.
    """

    def __init__(self, problems: Problems, namespace: str | None) -> None:
        self.notes: list[str] = []
        self._problems = problems
        if namespace is not None and not _is_name(namespace):
            problems.add("--namespace", f"{quote(namespace)} is not a namespace")
        self._namespace = namespace
        self._passed_over: Counter[tuple[str, str, str]] = Counter()
        self._seen: dict[tuple[str, str], IstioPolicy] = {}

    def policies(self, sources: Iterable[tuple[str, bytes]]) -> list[IstioPolicy]:
        """Return the policies in files, each once; a name, and a content, for each file."""
        for file, data in sources:
            before = len(self._seen), self._problems.count
            for document in self._problems.attempt(quote(file), _all, data) or ():
                self._document(file, document)
            if before == (len(self._seen), self._problems.count):
                self.notes.append(f"{quote(file)}: holds no {KIND}")
        for (file, kind, what), count in self._passed_over.items():
            many = f" ({count} of them)" if count > 1 else ""
            self.notes.append(f"{quote(file)}: {quote(kind)}{many} {what}")
        return list(self._seen.values())

    def _document(self, file: str, document: object) -> None:
        # What is between two separators with nothing in between.
        if document is None:
            return
        fields = document if isinstance(document, dict) else {}
        kind = fields.get("kind")
        if isinstance(kind, str) and kind in _LISTS:
            for item in self._items(file, kind, fields):
                self._document(file, item)
        elif kind == KIND:
            self._policy(file, fields)
        elif (other := passed_over(fields)) is not None:
            self._passed_over[(file, other[0][:_SHOWN], other[1])] += 1
        else:
            self._problems.add(
                f"{quote(file)}: {_called(fields) or quote(str(document)[:_SHOWN])}",
                f"is not an {KIND}, and is not imported; leave it out",
            )

    def _items(self, file: str, kind: str, fields: dict[str, Any]) -> list[object]:
        where, items = f"{quote(file)}: {kind}", fields.get("items")
        self._known(where, fields, ("apiVersion", "kind", "metadata", "items"))
        if fields.get("apiVersion") not in _LISTS[kind]:
            self._problems.add(f"{where}: apiVersion", f"must be {' or '.join(_LISTS[kind])}")
        if _mapping(fields, "metadata").get("continue"):
            self._problems.add(where, "is only the first part; get all of it, without a limit")
        if not isinstance(items, list) or None in items:
            self._problems.add(f"{where}: items", f"must be a list of {KIND} objects")
            return []
        return items

    def _policy(self, file: str, fields: dict[str, Any]) -> None:
        metadata = _mapping(fields, "metadata")
        name, namespace = metadata.get("name"), metadata.get("namespace", self._namespace)
        where = f"{quote(file)}: {quote(str(name))}"
        self._known(where, fields, ("apiVersion", "kind", "metadata", "spec", "status"))
        if fields.get("apiVersion") not in _VERSIONS:
            self._problems.add(f"{where}: apiVersion", f"must be one of: {', '.join(_VERSIONS)}")
        if _is_name(name) and namespace is None:
            self._problems.add(
                f"{where}: metadata",
                "has no namespace, which decides what is selected; add it, or give the one of all policies"
                " without: --namespace NAME",
            )
            return
        if not (_is_name(name) and _is_name(namespace)):
            self._problems.add(
                f"{where}: metadata", "must have a name and a namespace, as Kubernetes has them"
            )
            return
        spec = fields.get("spec")
        if spec is not None and not isinstance(spec, dict):
            self._problems.add(f"{where}: spec", "must be a mapping")
            return
        if _REVISION in _mapping(metadata, "labels"):
            self._problems.add(
                f"{where}: metadata.labels.{_REVISION}",
                f"only some control planes obey it, which {NO_EQUIVALENT}",
            )
        is_dry_run = self._is_dry_run(where, metadata)
        self._keep(IstioPolicy(file, namespace, name, spec or {}, is_dry_run))

    def _is_dry_run(self, where: str, metadata: dict[str, Any]) -> bool:
        value = _mapping(metadata, "annotations").get(_DRY_RUN, "false")
        if value not in ("true", "false"):
            self._problems.add(
                f"{where}: metadata.annotations.{_DRY_RUN}", "must be 'true' or 'false', in quotes"
            )
        return bool(value == "true")

    def _keep(self, policy: IstioPolicy) -> None:
        first = self._seen.setdefault((policy.namespace, policy.name), policy)
        if (first.spec, first.is_dry_run) != (policy.spec, policy.is_dry_run):
            self._problems.add(
                policy.where,
                f"is another one in {quote(first.file)}; leave out the one that is not in force",
            )

    def _known(self, where: str, fields: dict[str, Any], known: tuple[str, ...]) -> None:
        for name in fields:
            if name not in known:
                self._problems.add(f"{where}: {escaped(name)}", f"is unknown; known: {', '.join(known)}")


def _all(data: bytes) -> list[object]:
    return list(documents(data))


def _mapping(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _called(fields: dict[str, Any]) -> str:
    """Return the kind and the name of an object; empty if it has no kind."""
    metadata = _mapping(fields, "metadata")
    names = [str(metadata[key]) for key in ("namespace", "name") if key in metadata]
    return quote(f"{fields['kind']} {'/'.join(names)}".strip()[:_SHOWN]) if "kind" in fields else ""


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
