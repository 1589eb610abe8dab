"""Who may reach a target: the rules about it, and the peers that each one means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from meshid.cli.terminal import Colour, Paint, clean
from meshid.names.peer_pattern import PeerPattern
from meshid.policy import Policy, Request, Rule
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import quote


@attrs.frozen
class TargetAccess:
    """A target, and the rules about it.

    Attributes:
        policy: The policy.
        target: The target.
        request: The request; None for any, and for the handshake.
        now: The POSIX time in seconds.
    """

    policy: Policy
    target: str
    request: Request | None
    now: float
    rules: tuple[Rule, ...] = attrs.field(init=False)

    @rules.default
    def _about_the_target(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.policy.rules if self._is_about(rule))

    def _is_about(self, rule: Rule) -> bool:
        asked = self.request is None or rule.is_for(self.request)
        return asked and any(each.matches(self.target) for each in rule.targets)

    @property
    def possible(self) -> bool:
        """Whether any rule admits a peer, where no deny rule matches."""
        return self.policy.observe or any(map(self._could_allow, self.rules))

    def _could_allow(self, rule: Rule) -> bool:
        return rule.could_allow and not self._is_over(rule)

    def _is_over(self, rule: Rule) -> bool:
        return rule.has_ended(self.now)

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data."""
        values = {
            "possible": self.possible,
            "target": self.target,
            "request": str(self.request) if self.request else None,
            "environment": self.policy.environment.name,
            "observe": self.policy.observe,
            "policy_hash": self.policy.hash,
            "rules": [self._rule_as_dict(rule) for rule in self.rules],
        }
        return {name: value for name, value in values.items() if value is not None}

    def lines(self, paint: Paint) -> Iterator[str]:
        """Yield it as lines for a person."""
        what = f"{quote(self.target)}{f' for {quote(str(self.request))}' if self.request else ''}"
        if self.possible:
            yield paint(clean(f"who may reach {what}, where no deny rule matches:"), Colour.GOOD)
        else:
            hint = did_you_mean(self.policy, self.target)
            any_more = " any more" if any(map(self._is_over, self.rules)) else ""
            yield paint(
                clean(f"no peer may reach {what}: no allow rule is about it{any_more}{hint}"), Colour.BAD
            )
        if self.policy.observe:
            yield "  every peer: the policy only observes, and lets EVERY verified peer in"
        for rule in sorted(self.rules, key=lambda rule: not self._could_allow(rule)):
            yield from self._rule_lines(rule, paint)
        yield f"  policy {self.policy.hash}"

    def _rule_as_dict(self, rule: Rule) -> dict[str, object]:
        return {
            "rule": rule.id,
            "effect": str(rule.effect),
            "observe": rule.observe,
            "why": rule.why,
            "where": rule.place,
            "from": list(self._peers(rule)),
            **({"not_from": list(self._spiffe_ids(rule.not_sources))} if rule.not_sources else {}),
            "http": list(map(str, rule.http)),
            **({"not_http": list(map(str, rule.not_http))} if rule.not_http else {}),
            **({"evidence": ["x509", "token"]} if rule.needs_token else {}),
            **({"until": str(rule.until), "over": self._is_over(rule)} if rule.until else {}),
        }

    def _rule_lines(self, rule: Rule, paint: Paint) -> Iterator[str]:
        observing = ", which only observes" if rule.observe else ""
        over = ", which is over" if self._is_over(rule) else ""
        yield f'  {rule.effect} rule "{rule.id}"{observing}{over}'
        for name, words in (
            ("from", list(self._peers(rule))),
            ("but", list(self._spiffe_ids(rule.not_sources))),
            ("with", ["a token"] if rule.needs_token else []),
            ("for", list(map(str, rule.http))),
            ("not", list(map(str, rule.not_http))),
            ("till", [str(rule.until)] if rule.until else []),
            ("why", [rule.why] if rule.why else []),
        ):
            for number, each in enumerate(words):
                yield f"    {paint(('' if number else name).ljust(4), Colour.QUIET)}  {clean(each)}"

    def _peers(self, rule: Rule) -> Iterator[str]:
        yield from self._spiffe_ids(rule.sources)
        for peer in rule.peers:
            yield from (f"{each} (@{peer.name})" for each in self._spiffe_ids(peer.spiffe))
            for alias in peer.tokens:
                whom = f"{quote(str(alias.principal))} (@{peer.name})"
                # Listed beside certificates, it must not read as if it stood in for one.
                yield f"beside a certificate, a token of {quote(alias.issuer)} for {whom}"

    def _spiffe_ids(self, patterns: Iterable[PeerPattern]) -> Iterator[str]:
        for pattern in patterns:
            for domain in pattern.domains(self.policy.environment.trust_domains):
                yield str(PeerPattern(domain, pattern.path))


def did_you_mean(policy: Policy, target: str) -> str:
    """Return "; did you mean ...?" with a similar target of the policy; nothing if there is none."""
    known = dict.fromkeys(str(each) for rule in policy.rules if rule.could_allow for each in rule.targets)
    near = Suggestions().to(target, known)
    return f"; did you mean {quote(near)}?" if near else ""
