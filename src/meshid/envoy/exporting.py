"""A policy for one target as two RBAC filters of Envoy: exactly, or refused with what Envoy cannot say.

The rules of this module:

- The first filter denies: what `Request` refuses or the policy does not judge, whoever has not one
  name, and what deny rules match. The second one allows what allow rules match, and nothing else.
- A peer is known by the URI SAN of a certificate that Envoy has validated. The older matcher of Envoy,
  ``authenticated``, takes certificates that nobody has validated, and DNS SANs for URIs.
- A path is matched as it was sent. With Envoy's normalisation the filters would see another one.
- RE2 cannot tell Unicode's normal form C, so a path with anything outside ASCII is denied.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import attrs

from meshid.envoy.commented_yaml import Commented, Value, yaml_of
from meshid.envoy.regexes import (
    CHARACTERS,
    DOT_SEGMENT,
    EMPTY_SEGMENT,
    LONG_PATH,
    MANY_SEGMENTS,
    ONE_NAME,
    literal,
    path_regex,
    peer_regex,
)
from meshid.errors import NotExportable, Problem
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.methods import judged
from meshid.policy.policy import Policy
from meshid.policy.requests import MAX_PATH_LENGTH, MAX_PATH_SEGMENTS
from meshid.policy.rules import ANY_METHOD, Effect, HttpCondition, Rule
from meshid.policy.target_form import check_target
from meshid.support.quoting import quote

_TYPE = "type.googleapis.com/envoy.extensions"
_EVERYTHING: Mapping[str, Value] = {"any": True}

REGEX_SIZE = 32768
"""For ``re2.max_program_size.error_level``, which is 100 by default; Istio sets it to the same."""

HEAD = f"""
These are fields of Envoy's HTTP connection manager: put them into its typed_config, in place of
those of the same names. Your own filters come after the two, and the router at the end.

In the TLS context of the listener, beside a validation_context in which the bundle of each trust
domain confirms its own names only (envoy.tls.cert_validator.spiffe):

  require_client_certificate: true
  disable_stateless_session_resumption: true   the certificate of a resumed session counts as
  disable_stateful_session_resumption: true    not validated, and gets 403

In the bootstrap, since 100, the default, is too small for these regular expressions:

  layered_runtime:
    layers: [{{name: meshid, static_layer: {{re2.max_program_size.error_level: {REGEX_SIZE}}}}}]

The filters judge a path as it was sent, so Envoy must not change it before.
""".splitlines()

NOTES = (
    "a path with a character outside ASCII is denied: RE2 cannot tell whether it is in normal form C",
    "tokens are not read, and no revocation is known: Envoy judges the certificate that it has validated",
)


@attrs.frozen
class Exported:
    """The result of an export.

    Attributes:
        yaml: The text, in YAML: fields of Envoy's HTTP connection manager, with the two filters.
        notes: What to know before using it, one sentence each.
    """

    yaml: str
    notes: tuple[str, ...]


def export_rbac(policy: Policy, target: str, *, now: float | None = None) -> Exported:
    """Say what *policy* decides about requests to *target*, as RBAC filters of Envoy.

    Args:
        policy: The policy.
        target: The one target that Envoy stands in front of.
        now: The time, in POSIX seconds, for rules with a last day; by default that of the system's clock.

    Raises:
        TypeError: If *target* is not a string.
        ValueError: If *target* is none, such as an empty one.
        NotExportable: With every rule, and everything else of the policy, that Envoy cannot say exactly.
    """
    # Of another text, `**` would let everybody in there, and no such target is ever asked about.
    check_target(target)
    now = time.time() if now is None else now
    rules = [rule for rule in policy.rules if not rule.has_ended(now)]
    about = [rule for rule in rules if _is_about(rule, target)]
    if problems := (*_policy_problems(policy), *(each for rule in about for each in _rule_problems(rule))):
        raise NotExportable(problems)
    text = yaml_of(_document(policy, target, about, judged(rules)))
    return Exported(text, tuple(_notes(policy, target, about, now)))


def _is_about(rule: Rule, target: str) -> bool:
    return any(each.matches(target) for each in rule.targets)


# -- What Envoy cannot say ----------------------------------------------------------


def _policy_problems(policy: Policy) -> Iterator[Problem]:
    if policy.observe:
        yield Problem("observe", "the policy only observes, and Envoy would enforce it")
    for issuer in policy.issuers:
        what = "meshid refuses a token that disagrees with its certificate, and Envoy reads no token"
        yield Problem(f"issuer {quote(issuer.name)}", what)


def _rule_problems(rule: Rule) -> Iterator[Problem]:
    where = f"rule {quote(rule.id)}"
    if rule.observe:
        yield Problem(where, "observes: Envoy's filters would keep no record of what it would have decided")
    if rule.needs_token:
        yield Problem(where, "wants a token as evidence, and Envoy reads none")
    for peer in rule.peers:
        if peer.tokens:
            yield Problem(
                where, f"names {quote(f'@{peer.name}')}, whom a token can prove, and Envoy reads none"
            )
    if rule.until is not None:
        yield Problem(where, f"ends after {rule.until}, and Envoy's filters know no date")
    for condition in rule.http if rule.effect is Effect.ALLOW else ():
        path = condition.path.text
        if not path.isascii() or "%" in path:
            what = f"allows {quote(str(condition))}: the filters deny what is encoded there, as it is sent"
            yield Problem(where, what)


def _notes(policy: Policy, target: str, about: Iterable[Rule], now: float) -> Iterator[str]:
    for rule in policy.rules:
        if rule.has_ended(now) and _is_about(rule, target):
            yield f"the rule {quote(rule.id)} ended after {rule.until}, and is left out"
    if not any(rule.effect is Effect.ALLOW for rule in about):
        yield f"no rule lets anybody reach {quote(target)}, so the filters let nobody in: is that its name?"
    yield from NOTES


# -- The filters --------------------------------------------------------------------


def _document(
    policy: Policy, target: str, rules: Iterable[Rule], methods: Iterable[str]
) -> Mapping[str, Value]:
    refusals = dict(_unsafe(methods))
    denied = _policies(policy, rules, Effect.DENY)
    allowed = _policies(policy, rules, Effect.ALLOW)
    head = (
        f"Who may reach {quote(target)} in environment {quote(policy.environment.name)}.",
        f"Made by meshid from the policy {policy.hash}.",
        *HEAD,
    )
    return {
        "normalize_path": Commented(head, False),
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "http_protocol_options": {"allow_absolute_url": False},
        "forward_client_cert_details": Commented(
            ["The filters read from this header that a certificate has one name only."], "SANITIZE_SET"
        ),
        "set_current_client_cert_details": {"uri": True},
        "http_filters": [_filter("DENY", refusals | denied), _filter("ALLOW", allowed)],
    }


def _filter(action: str, policies: Mapping[str, Value]) -> Value:
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_TYPE}.filters.http.rbac.v3.RBAC",
            "rules": {"action": action, "policies": policies},
        },
    }


def _unsafe(methods: Iterable[str]) -> Iterator[tuple[str, Value]]:
    """Yield what no rule can allow; no rule's id begins with "_"."""
    everybody: list[Value] = [_EVERYTHING]
    paths: list[Value] = [
        Commented(
            ["anything but ASCII, an encoded '/', and what servers read differently: % ? # ; and backslash"],
            _not(_path(CHARACTERS)),
        ),
        Commented(["an empty segment"], _path(EMPTY_SEGMENT)),
        Commented(["a dot segment"], _path(DOT_SEGMENT)),
        Commented([f"more than {MAX_PATH_SEGMENTS} segments"], _path(MANY_SEGMENTS)),
        Commented([f"more than {MAX_PATH_LENGTH} characters"], _path(LONG_PATH)),
    ]
    yield "_unsafe_path", {"permissions": paths, "principals": everybody}
    known = _header(":method", _regex("|".join(map(literal, sorted(methods)))))
    yield "_unknown_method", {"permissions": [_not(known)], "principals": everybody}
    named = _header("x-forwarded-client-cert", _regex(ONE_NAME))
    yield "_not_one_name", {"permissions": [_not(named)], "principals": everybody}


def _policies(policy: Policy, rules: Iterable[Rule], effect: Effect) -> dict[str, Value]:
    own = policy.environment.trust_domains
    return {
        rule.id: Commented(
            [rule.why] if rule.why else [],
            {"permissions": _permissions(rule), "principals": _principals(rule, own)},
        )
        for rule in rules
        # A peer by name may have no SPIFFE ID; Envoy refuses a list of nobody.
        if rule.effect is effect and rule.known_by
    }


def _permissions(rule: Rule) -> list[Value]:
    asked = [_permission(each) for each in rule.http] or [_EVERYTHING]
    if not rule.not_http:
        return asked
    excepted: list[Value] = [_permission(each) for each in rule.not_http]
    rest = _not({"or_rules": {"rules": excepted}})
    return [{"and_rules": {"rules": [{"or_rules": {"rules": asked}}, rest]}}]


def _permission(condition: HttpCondition) -> Value:
    parts: list[Value] = []
    if condition.method != ANY_METHOD:
        parts.append(_header(":method", {"exact": condition.method}))
    # Of every safe path; most rules about methods say so.
    if condition.path.segments != ("**",):
        parts.append(_path(path_regex(condition.path)))
    value: Value = {"and_rules": {"rules": parts}} if len(parts) > 1 else (parts or [_EVERYTHING])[0]
    return Commented([str(condition)], value)


def _principals(rule: Rule, own: tuple[TrustDomain, ...]) -> list[Value]:
    meant: list[Value] = [_principal(each, own) for each in dict.fromkeys(rule.known_by)]
    if not rule.not_sources:
        return meant
    excepted: list[Value] = [_principal(each, own) for each in rule.not_sources]
    rest: Value = {"not_id": {"or_ids": {"ids": excepted}}}
    return [{"and_ids": {"ids": [{"or_ids": {"ids": meant}}, rest]}}]


def _principal(pattern: PeerPattern, own: tuple[TrustDomain, ...]) -> Value:
    return Commented(
        [str(pattern)],
        {
            "custom": {
                "name": "envoy.rbac.principals.mtls_authenticated",
                "typed_config": {
                    "@type": f"{_TYPE}.rbac.principals.mtls_authenticated.v3.Config",
                    "san_matcher": {"san_type": "URI", "matcher": _regex(peer_regex(pattern, own))},
                },
            }
        },
    )


def _not(rule: Value) -> Value:
    return {"not_rule": rule}


def _header(name: str, match: Mapping[str, Value]) -> Value:
    return {"header": {"name": name, "string_match": match}}


def _path(regex: str) -> Value:
    return {"url_path": {"path": _regex(regex)}}


def _regex(regex: str) -> Mapping[str, Value]:
    return {"safe_regex": {"regex": regex}}
