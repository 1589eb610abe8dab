"""A small world with peers by name and tokens: all of it can be asked for; and a second reading of its rules.

The second reading knows only the file and the words of the documentation, none of the code that it checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import product
from typing import Any

import attrs
from hypothesis import strategies as st

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy import REQUEST_FOLLOWS, Policy, Request, RequestLike
from meshid.policy.evidence import TokenName

PROD, OLD, PARTNER, DEV = "prod.example.org", "old.example.org", "partner.example", "dev.example.org"
OWN = (TrustDomain(PROD), TrustDomain(OLD))
KNOWN = {PROD, OLD, PARTNER}
ENVIRONMENT: dict[str, Any] = {"trust_domains": [PROD, OLD], "federates_with": [PARTNER]}

ISSUERS = {
    "cluster": {
        "profile": "kubernetes",
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "audience": ["meshid:prod"],
        "jwks": "https://kubernetes.default.svc/openid/v1/jwks",
    },
    "spire": {"profile": "jwt-svid", "audience": ["payments"]},
}

ALIASES: list[dict[str, Any]] = [
    {"name": "both", "spiffe": ["/a"], "kubernetes": ["ns/a"]},
    {"name": "many", "spiffe": ["/b/*", f"spiffe://{PARTNER}/b"], "kubernetes": ["ns/b", "ns/b-*"]},
    {"name": "token", "kubernetes": ["ns/c"]},
    {"name": "cert", "spiffe": ["/c", "/a/b/**"]},
]
"""They have nothing in common."""

PEERS = st.lists(st.sampled_from(ALIASES), unique_by=lambda each: each["name"], max_size=4)
NAMED_ISSUERS = st.lists(st.sampled_from(sorted(ISSUERS)), unique=True, max_size=2)

IDS = [
    SpiffeId.parse(f"spiffe://{domain}{path}")
    for domain, path in product([PROD, OLD, PARTNER, DEV], ["/a", "/b", "/c", "/z", "/b/x", "/a/b"])
]
PLACES = ["pay", "ship"]
REQUESTS: list[str | None] = [None, "GET /r", "PUT /r", "GET /s"]

TOKENS: list[TokenName | None] = [
    None,
    *(
        TokenName("cluster", f"ns/{each}", bound)
        for each in ("a", "b", "b-2", "c", "z")
        for bound in (False, True)
    ),
    *(
        TokenName("spire", f"spiffe://{each}", bound)
        for each in (f"{PROD}/a", f"{PROD}/z", f"{OLD}/b/x", f"{PROD}/c", f"{PARTNER}/b", f"{DEV}/a", "")
        for bound in (False, True)
    ),
    TokenName("nobody", "ns/a", is_bound=True),
]

WHO = ["/a", "/b", "/b/x", "/*", "/**", "/z", f"spiffe://{PARTNER}/b", f"spiffe://{PARTNER}/**", "/a/**"]


@st.composite
def documents(draw: st.DrawFn, days: Sequence[str] = ()) -> dict[str, Any]:
    """Draw a policy file with peers by name; an allow rule may end with one of *days*."""
    peers = draw(PEERS)
    who = st.sampled_from(
        [*WHO, *(f"@{each['name']}" for each in peers), *(f"@{each['name']}" for each in peers)]
    )
    proven = [f"@{each['name']}" for each in peers if "spiffe" in each]
    not_who = st.sampled_from([*WHO, *proven])
    rule = st.fixed_dictionaries(
        {
            "effect": st.sampled_from(["allow", "allow", "deny"]),
            "from": st.lists(who, min_size=1, max_size=2, unique=True),
            "to": st.lists(st.sampled_from(["pay", "ship", "*", "**"]), min_size=1, max_size=2, unique=True),
            "http": st.lists(st.sampled_from(["GET /r", "* /r", "GET /**"]), max_size=1),
            "not_from": st.lists(not_who, max_size=2, unique=True),
            "not_http": st.lists(st.sampled_from(["GET /r", "* /s", "PUT /**", "* /**"]), max_size=1),
            "observe": st.sampled_from([False, False, False, True]),
            "needs_token": st.booleans(),
            "until": st.sampled_from([None, *days]),
        }
    )
    rules: list[dict[str, Any]] = draw(st.lists(rule, max_size=4))
    for each in rules:
        # Whoever a token can prove must not stand in both lists by name.
        each["not_from"] = [who for who in each["not_from"] if who not in each["from"] or who[0] != "@"]
    return document_of(rules, peers, draw(NAMED_ISSUERS))


def document_of(
    rules: list[dict[str, Any]], peers: list[dict[str, Any]], issuers: list[str], **more: object
) -> dict[str, Any]:
    """Make a policy file."""
    environment = dict(ENVIRONMENT)
    if issuers:
        environment["issuers"] = {name: ISSUERS[name] for name in issuers}
    document: dict[str, Any] = {
        "version": 1,
        "environments": {"prod": environment},
        "peers": peers,
        "allow": [],
        "deny": [],
        **more,
    }
    if not peers:
        del document["peers"]
    # An alias of which no environment has an issuer is an error, so another one has it.
    spare = ISSUERS["cluster"] | {"issuer": "https://dev.example", "jwks": "https://dev.example/jwks"}
    document["environments"]["dev"] = {"trust_domains": [DEV], "issuers": {"cluster": spare}}
    for number, rule in enumerate(rules):
        values = {key: value for key, value in rule.items() if key not in {"effect", "needs_token"} and value}
        if rule["effect"] == "deny":
            values.pop("until", None)
        if rule.get("needs_token") and rule["effect"] == "allow":
            values["evidence"] = ["x509", "token"]
        document[rule["effect"]].append({"id": f"r{number}", **values})
    return document


def policy_of(document: dict[str, Any], environment: str = "prod") -> Policy:
    return Policy.from_json(json.dumps(document), environment)


pattern_of = cache(Pattern.parse)
peers_of = cache(PeerPattern.parse)


# -- The second reading ---------------------------------------------------------


@attrs.frozen
class Reading:
    """A policy file, read rule by rule, at an instant that counts only if rules end."""

    document: dict[str, Any]
    now: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    @property
    def issuers(self) -> dict[str, Any]:
        return dict(self.document["environments"]["prod"].get("issuers", {}))

    def by_certificate(self, spiffe_id: SpiffeId) -> str | None:
        """Return the name of the peer that a certificate names."""
        for peer in self.document.get("peers", []):
            if any(peers_of(each).matches(spiffe_id, OWN) for each in peer.get("spiffe", [])):
                return str(peer["name"])
        return None

    def by_token(self, token: TokenName) -> str | None:
        """Return the name of the peer that a token names."""
        if token.issuer == "spire":
            return self.by_certificate(SpiffeId.parse(token.principal))
        for peer in self.document.get("peers", []):
            if any(pattern_of(each).matches(token.principal) for each in peer.get("kubernetes", [])):
                return str(peer["name"])
        return None

    def refuses(self, spiffe_id: SpiffeId, token: TokenName | None) -> str | None:
        """Return the reason for which a token is refused; None if it is not."""
        if token is None:
            return None
        if token.issuer not in self.issuers:
            return "token_issuer_unknown"
        if spiffe_id.trust_domain.name not in KNOWN:
            return "token_disagrees"
        if token.issuer == "spire":
            if not token.principal.startswith((f"spiffe://{PROD}/", f"spiffe://{OLD}/")):
                return "token_disagrees"
            if token.principal == str(spiffe_id):
                return None
        one, two = self.by_certificate(spiffe_id), self.by_token(token)
        agree = two is not None and (one == two or (one is None and token.is_bound))
        return None if agree else "token_disagrees"

    def name(self, spiffe_id: SpiffeId, token: TokenName | None) -> str | None:
        """Return the name of a peer whose token is not refused."""
        return self.by_certificate(spiffe_id) or (None if token is None else self.by_token(token))

    def rules(self) -> Iterator[tuple[str, dict[str, Any]]]:
        today = self.now.date().isoformat()
        for effect in ("allow", "deny"):
            yield from ((effect, rule) for rule in self.document[effect] if today <= rule.get("until", today))

    def is_about(
        self, rule: dict[str, Any], spiffe_id: SpiffeId, token: TokenName | None, target: str
    ) -> bool:
        """Tell whether a rule is about a peer and a target, whatever the request."""
        if any(
            each == f"@{self.by_certificate(spiffe_id)}"
            if each.startswith("@")
            else peers_of(each).matches(spiffe_id, OWN)
            for each in rule.get("not_from", ())
        ):
            return False
        name = self.name(spiffe_id, token)
        who = any(
            each == f"@{name}" if each.startswith("@") else peers_of(each).matches(spiffe_id, OWN)
            for each in rule["from"]
        )
        enough = token is not None or "evidence" not in rule
        return who and enough and any(pattern_of(each).matches(target) for each in rule["to"])

    def reason(self, spiffe_id: SpiffeId, token: TokenName | None, target: str, request: RequestLike) -> str:
        """Return the reason for what is decided."""
        if (refused := self.refuses(spiffe_id, token)) is not None:
            return refused
        enforced = [(effect, rule) for effect, rule in self.rules() if not rule.get("observe")]
        matching = [
            (effect, rule) for effect, rule in enforced if self.is_about(rule, spiffe_id, token, target)
        ]
        decided = {effect for effect, rule in matching if _is_for(effect, rule, request)}
        if decided:
            return "denied" if "deny" in decided else "allowed"
        if request is REQUEST_FOLLOWS and self._awaited(spiffe_id, token, target, enforced):
            return "request_awaited"
        return "no_rule"

    def _awaited(
        self,
        spiffe_id: SpiffeId,
        token: TokenName | None,
        target: str,
        enforced: list[tuple[str, dict[str, Any]]],
    ) -> bool:
        tokens = [token] if token is not None else [*TOKENS, TokenName("spire", str(spiffe_id))]
        return any(
            self.is_about(rule, spiffe_id, each, target)
            for each in tokens
            if self.refuses(spiffe_id, each) is None
            for effect, rule in enforced
            if effect == "allow"
        )


def _is_for(effect: str, rule: dict[str, Any], request: RequestLike) -> bool:
    wanted, excepted = rule.get("http"), rule.get("not_http")
    if not wanted and not excepted:
        return True
    if request is REQUEST_FOLLOWS:
        return False
    if request is None:
        return effect == "deny"
    asked = Request.parse(request) if isinstance(request, str) else request
    return any(_meets(asked, each) for each in wanted or ["* /**"]) and not any(
        _meets(asked, each) for each in excepted or []
    )


def _meets(asked: Request, condition: str) -> bool:
    method, path = condition.split(" ", 1)
    return method in {"*", asked.method} and pattern_of(path).matches(asked.path)
