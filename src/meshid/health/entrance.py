"""Whether anybody could be let in: what the trust and the policy in force say about every peer.

An answer "nobody" is exact as far as it goes: where it is not given, a peer may still be refused for
what only its own chain can tell. What a policy says of a target is worked out once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime
from functools import lru_cache
from itertools import product

import attrs
from cryptography import x509

from meshid.admission.question import Question
from meshid.errors import Refused
from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import REQUEST_FOLLOWS, Policy
from meshid.policy.rules import Effect, Rule
from meshid.reasons import Reason
from meshid.support.quoting import joined, quote, quote_all
from meshid.trust.bundles import TrustBundle
from meshid.trust.revocations import Revocations

_REMEMBERED = 8
"""Answers about a policy and a target that are kept: a process has one policy, and a few targets."""

_ANY = Pattern.parse("/**")
_ANYBODY = "/meshid/asks/whether/anybody/at/all/is/let/in"
"""A name that only a denial of everybody has."""


def why_closed(bundle: TrustBundle, revocations: Revocations, now: datetime) -> str | None:
    """Return why no authority of a bundle can vouch for anybody at the instant *now*; None if one can."""
    if not bundle.authorities:
        return "there is no authority in it"
    last = max(each.not_valid_after_utc for each in bundle.authorities)
    why = (
        f"its last authority ended at {last}; add the next one"
        if last < now
        else "no authority in it is in date"
    )
    for authority in bundle.authorities:
        if authority.not_valid_before_utc <= now <= authority.not_valid_after_utc:
            refusal = _refusal(authority, bundle.trust_domain, revocations, now)
            if refusal is None:
                return None
            why = refusal
    return why


def _refusal(
    authority: x509.Certificate, domain: TrustDomain, revocations: Revocations, now: datetime
) -> str | None:
    """Return why everybody is refused whose path ends at this authority."""
    try:
        # The shortest path that there is: whatever this authority has issued shares its fate.
        revocations.check(SpiffeId(domain, _ANYBODY), (authority, authority), now)
    except Refused as refusal:
        decision = refusal.decision()
        # It may have issued, and revoked, a certificate with the serial number of its own.
        if decision.reason is Reason.REVOKED:
            return None
        return f"{decision.detail}; {joined(decision.reason.remedy)}"
    return None


def why_nobody(
    policy: Policy, question: Question, vouching: Collection[TrustDomain] | None, now: float
) -> str | None:
    """Return why no client may reach a target; None if one may.

    Args:
        policy: The policy.
        question: What is asked about each client.
        vouching: The trust domains of which somebody can be admitted; None to go by the policy alone.
        now: The POSIX time in seconds.
    """
    if policy.observe:
        return None
    until = policy.next_end(now)
    domains = _domains_let_in(policy, question, until)
    if not domains:
        return _why_no_rule(policy, question, until)
    if vouching is not None and domains.isdisjoint(vouching):
        names = ", ".join(sorted(map(str, domains)))
        return f"the policy lets in peers of {names} only, whose bundle is not there or vouches for nobody"
    return None


def _why_no_rule(policy: Policy, question: Question, until: float) -> str:
    target = question.required_target
    could_allow = [rule for rule in policy.rules if rule.could_allow]
    allowing = [rule for rule in could_allow if rule.counts_until(until)]
    about_it = [rule for rule in allowing if _is_about(rule, target)]
    if not about_it and (ended := [rule for rule in could_allow if _is_about(rule, target)]):
        last = max(ended, key=lambda rule: rule.until or date.min)
        return (
            f"each allow rule about it has ended, so no client is let in: the last, {quote(last.id)}, with"
            f" {last.until} (until); give it a later day, or add another rule"
        )
    if not about_it:
        targets = sorted({pattern.text for rule in allowing for pattern in rule.targets})
        return (
            f"no allow rule is about it, so no client is let in: add one with to = [{quote(target)}], or use"
            f" a name that the rules have: {quote_all(targets) if targets else 'there is none'}"
        )
    if not any(_counts(rule, question) for rule in about_it):
        return (
            "each allow rule about it has http conditions or needs a token, so no connection is let in:"
            " promise to ask about each request with server_context(http=True), or add a rule without them"
        )
    return "deny rules match every peer that an allow rule about it matches: narrow them"


@lru_cache(_REMEMBERED)
def _domains_let_in(policy: Policy, question: Question, until: float) -> frozenset[TrustDomain]:
    """Return the trust domains of which somebody may reach the target, by the rules that end no earlier.

    Deny rules that keep everybody out only together are not found; `Policy.prove` would find them, and
    takes longer than a probe may.
    """
    own = policy.environment.trust_domains
    rules = [
        rule
        for rule in policy.rules
        if not rule.observe
        and rule.counts_until(until)
        and _is_about(rule, question.required_target)
        and _counts(rule, question)
    ]
    denied = _by_domain((rule for rule in rules if rule.effect is Effect.DENY), own)
    allows = [rule for rule in rules if rule.effect is Effect.ALLOW]
    allowed = _by_domain(allows, own)
    if question.request is REQUEST_FOLLOWS and policy.issuers:
        # A token that comes with a request may give a name to any certificate.
        for rule, domain in product(allows, (*own, *policy.environment.federates_with)):
            if rule.peers:
                allowed.setdefault(domain, []).extend(_parts(rule, [_ANY], domain, own))
    return frozenset(
        domain
        for domain, parts in allowed.items()
        if not all(
            part.is_empty or any(deny.covers(part) for deny in denied.get(domain, ())) for part in parts
        )
    )


@attrs.frozen
class _Part:
    """Peers of one trust domain: those of a path, without some."""

    path: Pattern
    without: tuple[Pattern, ...]

    @property
    def is_empty(self) -> bool:
        """Whether one pattern leaves all of them out."""
        return any(each.contains(self.path) for each in self.without)

    def covers(self, other: _Part) -> bool:
        """Tell whether it has all of another one."""
        return self.path.contains(other.path) and all(
            any(left_out.contains(each) for left_out in other.without)
            for each in self.without
            if each.intersects(other.path)
        )


def _by_domain(rules: Iterable[Rule], own: tuple[TrustDomain, ...]) -> dict[TrustDomain, list[_Part]]:
    """Return the peers of each trust domain that rules are about."""
    found: dict[TrustDomain, list[_Part]] = {}
    for rule in rules:
        paths: dict[TrustDomain, list[Pattern]] = {}
        for source in rule.known_by:
            for domain in source.domains(own):
                paths.setdefault(domain, []).append(source.path)
        for domain, of_domain in paths.items():
            found.setdefault(domain, []).extend(_parts(rule, of_domain, domain, own))
    return found


def _parts(
    rule: Rule, paths: Iterable[Pattern], domain: TrustDomain, own: tuple[TrustDomain, ...]
) -> Iterator[_Part]:
    without = tuple(each.path for each in rule.not_sources if domain in each.domains(own))
    return (_Part(path, without) for path in paths)


def _is_about(rule: Rule, target: str) -> bool:
    return any(pattern.matches(target) for pattern in rule.targets)


def _counts(rule: Rule, question: Question) -> bool:
    """Return whether a rule decides at the handshake, where there is no request yet."""
    is_undecided = question.request is REQUEST_FOLLOWS
    if rule.needs_token and not is_undecided:
        return False
    return not rule.needs_request or is_undecided is (rule.effect is Effect.ALLOW)
