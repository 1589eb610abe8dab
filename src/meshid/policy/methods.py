"""The methods that every server reads alike.

A method is case-sensitive (RFC 9110 section 9.1), and Django, Flask and others write it in upper
case nevertheless. So a method that nobody has registered may be run as another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshid.policy.rules import ANY_METHOD, Rule

# fmt: off
REGISTERED: Final = frozenset({
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET",
    "HEAD", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF",
    "MKWORKSPACE", "MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND",
    "PROPPATCH", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT",
    "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL",
})
# fmt: on
"""IANA's HTTP Method Registry of 2026-06-17 (RFC 9110 section 16.1.1), without "*", which is reserved."""


def judged(rules: Iterable[Rule]) -> frozenset[str]:
    """Return the methods that rules can judge: those that are registered, and those that a rule names."""
    named = {condition.method for rule in rules for condition in (*rule.http, *rule.not_http)}
    return REGISTERED | (named - {ANY_METHOD})
