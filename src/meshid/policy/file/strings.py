"""What the strings of a rule mean: patterns of peers, patterns of targets, conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from unicodedata import normalize

import attrs

from meshid.errors import InvalidPattern, InvalidSpiffeId
from meshid.names.pattern import MAX_PATTERN_LENGTH, Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.file.form import CONDITION_FORM
from meshid.policy.requests import KEEPABLE, KEPT
from meshid.policy.rules import Environment, HttpCondition
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import MAX_QUOTED, quote, quote_all, some_of

_SHOWN_DOMAINS = 8
_SHOWN_CONDITIONS = 8
_ANY_KEPT = re.compile(KEPT.pattern, re.IGNORECASE)
_OF_URL = re.compile("[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)
_UNJUDGED = {
    "%": f"write the path decoded, with {', '.join(KEEPABLE)} alone for what stays encoded",
    "?": "leave the query out",
    "#": "leave the fragment out",
    ";": "leave the parameters out",
    "\\": "put '/' in its place",
}


def trust_domain(text: str) -> TrustDomain:
    """Read a trust domain.

    Raises:
        InvalidSpiffeId: If *text* is not a trust domain.
    """
    try:
        return TrustDomain.parse(text)
    except InvalidSpiffeId as error:
        name = text[:MAX_PATTERN_LENGTH].strip().lower().rpartition("://")[2].partition("/")[0]
        msg = f"{error}; {_trust_domain_hint(text, name)}"
        raise InvalidSpiffeId(msg) from error


def _trust_domain_hint(text: str, name: str) -> str:
    if "*" in text:
        return "a trust domain has no wildcards; name each one"
    try:
        return f"write {quote(TrustDomain(name).name)}"
    except InvalidSpiffeId:
        return "write a name such as 'prod.example.org'"


def source(text: str) -> PeerPattern:
    """Read a pattern of peers.

    Raises:
        InvalidPattern: If it is not valid, or could never match.
    """
    # Alone, it can only mean every path.
    return PeerPattern.parse("/**" if text == "**" else text)


@attrs.frozen
class Known:
    """The trust domains that a rule may name.

    Attributes:
        environment: The environment that is loaded.
        owners: The environment that each trust domain of the file belongs to.
        suggestions: Finds what was probably meant.
    """

    environment: Environment
    owners: Mapping[TrustDomain, str]
    suggestions: Suggestions
    _names: dict[str, None] = attrs.field(init=False)

    @_names.default
    def _its_names(self) -> dict[str, None]:
        domains = (*self.environment.trust_domains, *self.environment.federates_with)
        return dict.fromkeys(domain.name for domain in domains)

    def source(self, text: str) -> PeerPattern:
        """Read a pattern of peers.

        Raises:
            InvalidPattern: If it is not valid, could never match, or names an unknown trust domain.
        """
        pattern = source(text)
        domain = pattern.trust_domain
        if domain is not None and not self.knows(pattern):
            raise InvalidPattern(self.stranger(domain, pattern.path))
        return pattern

    def knows(self, pattern: PeerPattern) -> bool:
        """Tell whether a pattern can be about peers of this environment."""
        return pattern.trust_domain is None or pattern.trust_domain.name in self._names

    def stranger(self, domain: TrustDomain, path: Pattern) -> str:
        """Say what is wrong with a path in a trust domain that is not known here."""
        where = f"environment {quote(self.environment.name)} neither has nor federates with {domain}"
        return f"{where}; {self._hint(domain, path)}"

    def _hint(self, domain: TrustDomain, path: Pattern) -> str:
        if owner := self.owners.get(domain):
            own = f"write {quote(path.text)} for the peers of whichever environment is loaded"
            return f"it belongs to environment {quote(owner)}: {own}"
        if near := self.suggestions.to(domain.name, self._names):
            return f"did you mean {near}?"
        return f"it knows: {some_of(list(self._names), _SHOWN_DOMAINS)}"


def target(text: str) -> Pattern:
    """Read a pattern of targets.

    Raises:
        InvalidPattern: If it is not valid, or could never match.
    """
    if not text or "://" in text:
        msg = f"{quote(text)} must be the name of a service, a port or an endpoint, such as 'payments'"
        raise InvalidPattern(msg)
    if text.startswith("/") or text.endswith("/"):
        write = _suggested([text.strip("/ ") or "**"], _reads_target) or "write it without"
        msg = f"{quote(text)}: a target neither begins nor ends with '/'; {write}"
        raise InvalidPattern(msg)
    if (at := _first_unfit(text)) is not None:
        write = _suggested([text.strip().strip("/")], _reads_target) or "write it without"
        msg = f"{quote(text)}, character {at + 1}: a target cannot have {text[at]!a}; {write}"
        raise InvalidPattern(msg)
    return Pattern.parse(text)


def _reads_target(text: str) -> bool:
    is_fit = "://" not in text and text.strip("/") == text and _first_unfit(text) is None
    return is_fit and _reads_pattern(text)


def _reads_pattern(text: str) -> bool:
    try:
        Pattern.parse(text)
    except InvalidPattern:
        return False
    return True


def _first_unfit(text: str) -> int | None:
    return next(
        (at for at, each in enumerate(text[:MAX_PATTERN_LENGTH]) if each == " " or not each.isprintable()),
        None,
    )


def condition(text: str) -> HttpCondition:
    """Read a condition on requests.

    Raises:
        InvalidPattern: If it is not valid, or could never match.
    """
    if not CONDITION_FORM.fullmatch(text):
        raise InvalidPattern(_no_condition(text))
    method, _, path = text.partition(" ")
    pattern = Pattern.parse(path)
    if (composed := normalize("NFC", text)) != text:
        write = _suggested([composed], _reads_condition) or "compose it"
        msg = f"{quote(text)}: every judged path is in Unicode's normal form C; {write}"
        raise InvalidPattern(msg)
    return HttpCondition(method, pattern)


def _reads_condition(text: str) -> bool:
    is_fit = CONDITION_FORM.fullmatch(text) is not None and normalize("NFC", text) == text
    return is_fit and _reads_pattern(text.partition(" ")[2])


def _no_condition(text: str) -> str:
    shown = quote(text)
    if unjudged := next((each for each in _UNJUDGED if each in KEPT.sub("", text)), None):
        meant = _suggested([_ANY_KEPT.sub(lambda escape: escape[0].upper(), text)], _reads_condition)
        return f"{shown}: no judged path has {unjudged!r}; {meant or _UNJUDGED[unjudged]}"
    method, _, path = text[:MAX_PATTERN_LENGTH].strip().partition(" ")
    if path.strip() == "*":
        others = f"{method} /**" if _reads_condition(f"{method} /**") else "* /**"
        return (
            f"{shown}: '*' is no path, and a request for it is refused; for all paths write {quote(others)}"
        )
    if meant := _suggested(_meant_conditions(text), _reads_condition):
        return f"{shown} must be one method in upper case, a space and a path: {meant}"
    return f"{shown} must be one method, or '*' for any, a space and a path, such as 'GET /v1/**'"


def _meant_conditions(text: str) -> list[str]:
    if len(text) > MAX_PATTERN_LENGTH:
        return []
    method, path = (*text.split(maxsplit=1), "", "")[:2]
    if method.startswith("/"):
        method, path = "*", text.strip()
    # The target of a CONNECT is no path (RFC 9110 section 9.3.6).
    if (not path and not method.isupper()) or method.upper() == "CONNECT":
        return []
    path = _OF_URL.sub("", path) or "/" if _OF_URL.match(path) else path
    path = path if path.startswith("/") else f"/{path or '**'}"
    return [f"{each} {path}" for each in method.upper().replace("|", ",").split(",")]


def _suggested(meant: list[str], reads: Callable[[str], bool]) -> str | None:
    """Say what to write, if all of it would be read and can be shown whole."""
    if not 0 < len(meant) <= _SHOWN_CONDITIONS or any(len(each) > MAX_QUOTED for each in meant):
        return None
    return f"write {quote_all(meant)}" if all(map(reads, meant)) else None
