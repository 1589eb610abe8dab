"""The fields of Istio's rules: which are read, which have no equivalent and why, and what reading may cost.

A field that narrows a rule, and has no equivalent, is refused. By asking (``stricter``), what is
left has less: an entry of an ALLOW with such a field is left out, and a DENY is read without the
field, so it denies more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from meshid.istio.problems import NO_EQUIVALENT, Problems
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import escaped, quote

MAX_PATTERNS = 100_000
"""Patterns and conditions of a policy file; a rule for everybody has one for each trust domain."""

_TOKEN = "is about the token of an end user"  # noqa: S105 - no password
_ADDRESS = "is about an address, which anybody can have"
_HOST = "is about the header Host, which is not judged"
_HEADER = "is about a header, which is not judged"

UNJUDGED = {
    "requestPrincipals": _TOKEN,
    "notRequestPrincipals": _TOKEN,
    "ipBlocks": _ADDRESS,
    "notIpBlocks": _ADDRESS,
    "remoteIpBlocks": _ADDRESS,
    "notRemoteIpBlocks": _ADDRESS,
    "hosts": _HOST,
    "notHosts": _HOST,
    "notPorts": "is about all ports but some, and a target has no exceptions",
}
"""Fields of a source or an operation without an equivalent, and why."""

_UNJUDGED_KEYS = {
    "request.auth.": _TOKEN,
    "request.headers[": _HEADER,
    "source.ip": _ADDRESS,
    "remote.ip": _ADDRESS,
    "destination.ip": _ADDRESS,
    "connection.sni": "is about the name that the peer asked for in its handshake, which is not judged",
    "experimental.envoy.filters.": "is about what a filter of Envoy's says, which is not judged",
}
"""Beginnings of the keys of conditions without an equivalent, and why."""


PORT_KEY = "destination.port"
"""The key of a condition on ports."""

_CONDITIONS = ("source.principal", "source.namespace", "source.serviceAccount", PORT_KEY)
"""The keys of conditions that are read."""


class LeftOutError(Exception):
    """An entry of an ALLOW is left out, because it has a field without an equivalent."""


class FieldReader:
    """Reads fields, collects their problems, and counts what they become.

    Attributes:
        notes: What to know, one sentence each.
        problems: Where problems are collected.
    """

    def __init__(self, problems: Problems, *, stricter: bool) -> None:
        self.notes: list[str] = []
        self.problems = problems
        self._is_stricter = stricter
        self._suggestions = Suggestions()
        self._patterns = 0

    def check_known(
        self, where: str, fields: dict[str, Any], known: tuple[str, ...], *, is_deny: bool
    ) -> None:
        """Add a problem for each field of a source or an operation that is not read.

        Raises:
            LeftOutError: If the entry is left out.
        """
        for name in fields:
            if name in UNJUDGED:
                self.unjudged(f"{where}.{name}", UNJUDGED[name], is_deny=is_deny)
            elif name not in known:
                self.problems.add(f"{where}.{escaped(name)}", self.why_unknown(name, (*known, *UNJUDGED)))

    def why_unknown(self, word: str, known: Iterable[str]) -> str:
        """Return what is wrong with a word that is not known: it is mistyped, or has no equivalent."""
        near = self._suggestions.to(word, known)
        return f"is unknown; did you mean {quote(near)}?" if near else NO_EQUIVALENT

    def unjudged(self, where: str, why: str, *, is_deny: bool) -> None:
        """Add a problem, or, with ``stricter``, a note.

        Raises:
            LeftOutError: If that is the end of the entry.
        """
        self.inexact(where, why, is_deny=is_deny)
        if self._is_stricter and not is_deny:
            raise LeftOutError

    def inexact(self, where: str, why: str, *, is_deny: bool) -> None:
        """Add a problem, or, with ``stricter``, a note that less is let in than by Istio."""
        less = "more is denied" if is_deny else "less is allowed"
        if self._is_stricter:
            self.notes.append(f"{where}: {why}: {less} than by Istio")
        else:
            self.problems.add(where, f"{why}; it {NO_EQUIVALENT} ('stricter' imports it so that {less})")

    def texts(self, where: str, value: object) -> list[tuple[str, str]]:
        """Return the place and the text of each entry of a list of strings."""
        if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
            self.problems.add(where, "must be a list of strings")
            return []
        return [(f"{where}[{number}]", text) for number, text in enumerate(value)]

    def condition(self, where: str, value: object, *, is_deny: bool) -> tuple[str, dict[str, Any]] | None:
        """Read one entry of ``when``: return its key and its values; None if it has no equivalent.

        Raises:
            LeftOutError: If the rule is left out.
        """
        fields = value if isinstance(value, dict) else {}
        key = fields.get("key")
        if not isinstance(key, str) or set(fields) - {"key", "values", "notValues"} or len(fields) == 1:
            self.problems.add(where, "must be a mapping with 'key', and 'values' or 'notValues'")
            return None
        if key in _CONDITIONS:
            return key, fields
        why = next((why for begin, why in _UNJUDGED_KEYS.items() if key.startswith(begin)), None)
        if why is None:
            self.problems.add(f"{where}.key", f"{quote(key)} is unknown; it {NO_EQUIVALENT}")
        else:
            self.unjudged(where, why, is_deny=is_deny)
        return None

    def spend(self, count: int) -> None:
        """Count patterns before they are made: a few bytes of YAML can be the product of two lists."""
        self._patterns += count
        if self._patterns > MAX_PATTERNS:
            self.problems.add("", f"the policy file would have more than {MAX_PATTERNS} patterns")
            self.problems.check()
