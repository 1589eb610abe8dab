"""What a rule of Istio's is about: operations, and the conditions on ports."""

from __future__ import annotations

import re
from typing import Any

import attrs

from meshid.errors import InvalidInput
from meshid.istio.fields import FieldReader
from meshid.istio.path_patterns import path_pattern, why_inexact
from meshid.policy.file.strings import condition
from meshid.support.quoting import quote

OPERATION_FIELDS = ("methods", "notMethods", "paths", "notPaths", "ports")

_CONDITIONAL = {"methods", "paths"}
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MAX_PORT = 65535


@attrs.frozen
class IstioRequests:
    """Requests to some ports.

    Attributes:
        ports: The ports; empty for all.
        http: Conditions; empty for every connection and every request.
        not_http: The conditions of what is left out.
    """

    ports: tuple[str, ...]
    http: tuple[str, ...] = ()
    not_http: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many ports and conditions it has; one for all."""
        return max(1, len(self.ports) + len(self.http) + len(self.not_http))


class OperationReader:
    """Reads the operations of one policy."""

    def __init__(self, fields: FieldReader, *, is_deny: bool) -> None:
        self._fields = fields
        self._is_deny = is_deny

    def requests(self, where: str, fields: dict[str, Any], ports: list[list[str]]) -> list[IstioRequests]:
        """Return what an operation means on the ports that all lists of *ports* have."""
        lists = ports + ([self.ports(f"{where}.ports", fields["ports"])] if "ports" in fields else [])
        self._fields.spend(sum(map(len, lists)))
        common = _common(lists)
        http = self._conditions(where, fields)
        left_out = [f"{method} /**" for _, method in self._texts(where, fields, "notMethods")]
        left_out += [f"* {path}" for path in self._paths(where, fields, "notPaths")]
        left_out = [each for each in left_out if self._fields.problems.attempt(where, condition, each)]
        if (lists and not common) or (_CONDITIONAL & set(fields) and not http):
            return []
        return [IstioRequests(common, tuple(dict.fromkeys(http)), tuple(dict.fromkeys(left_out)))]

    def ports(self, where: str, value: object) -> list[str]:
        """Read a list of ports."""
        texts = self._fields.texts(where, value)
        return [text for place, text in texts if self._fields.problems.attempt(place, _port, text)]

    def _conditions(self, where: str, fields: dict[str, Any]) -> list[str]:
        if not _CONDITIONAL & set(fields):
            return []
        methods = (
            [text for _, text in self._texts(where, fields, "methods")] if "methods" in fields else ["*"]
        )
        paths = self._paths(where, fields, "paths") if "paths" in fields else ["/**"]
        self._fields.spend(len(methods) * len(paths))
        conditions = (f"{method} {path}" for method in methods for path in paths)
        return [each for each in conditions if self._fields.problems.attempt(where, condition, each)]

    def _paths(self, where: str, fields: dict[str, Any], name: str) -> list[str]:
        # More paths are denied, or left out of what is allowed: only that is safe where it is not exact.
        may_be_more = self._is_deny != name.startswith("not")
        found = []
        for place, text in self._texts(where, fields, name):
            pattern = self._fields.problems.attempt(place, path_pattern, text)
            why = why_inexact(text)
            if pattern is not None and why is not None:
                self._fields.inexact(place, why, is_deny=self._is_deny)
            if pattern is not None and (why is None or may_be_more):
                found.append(pattern)
        return found

    def _texts(self, where: str, fields: dict[str, Any], name: str) -> list[tuple[str, str]]:
        return self._fields.texts(f"{where}.{name}", fields[name]) if name in fields else []


def _common(lists: list[list[str]]) -> tuple[str, ...]:
    if not lists:
        return ()
    others = [set(each) for each in lists[1:]]
    return tuple(port for port in dict.fromkeys(lists[0]) if all(port in each for each in others))


def _port(text: str) -> str:
    if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
        msg = f"{quote(text)} must be a port, from 1 to {_MAX_PORT}"
        raise InvalidInput(msg)
    return text
