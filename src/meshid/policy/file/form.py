"""The form of a policy file, as data.

The loader reads by it and the JSON Schema is made from it, so an editor flags what the
loader refuses. What a text means (whether its trust domain is known, for example) is not
its form, and only the loader knows.
"""

from __future__ import annotations

import re

from meshid.names.pattern import MAX_PATTERN_LENGTH
from meshid.names.spiffe_id import MAX_TRUST_DOMAIN_BYTES
from meshid.policy.file.issuer_form import ISSUER
from meshid.policy.file.peer_form import ALIAS, NAMED_PEER, PEERS_OF_RULE
from meshid.policy.file.shapes import (
    Day,
    Flag,
    ListedTables,
    NamedTables,
    Number,
    Table,
    TableKey,
    Text,
    Texts,
)
from meshid.policy.rules import Effect

# -- What the strings are -----------------------------------------------------

CONDITION_FORM = re.compile(r"(?:\*|[A-Z0-9_.-]{1,32}) /(?:[^%?#;\\]|%2F|%3B|%23|%25)*")
"""No registered method has other characters (RFC 9110 section 16.1.1), and no judged path has these; what
can stay encoded in one is written so."""

_TRUST_DOMAIN = Text(
    wanted="a trust domain",
    longest=len("spiffe://") + MAX_TRUST_DOMAIN_BYTES,
    form=re.compile(r"(?:spiffe://)?[a-z0-9._-]+"),
    examples=("prod.example.org",),
)
_TARGET = Text(
    wanted="a pattern of targets",
    longest=MAX_PATTERN_LENGTH,
    form=re.compile(r"[^\s/]+(?:/[^\s/]+)*"),
    examples=("payments", "payments-*", "**"),
)
_CONDITION = Text(
    wanted="'METHOD /path'",
    longest=len("METHOD ") + 32 + MAX_PATTERN_LENGTH,
    form=CONDITION_FORM,
    examples=("GET /v1/charges/*", "POST /v1/charges", "* /health"),
)

_EVIDENCE = Text(
    wanted='"x509" or "token"',
    longest=len("token"),
    form=re.compile("x509|token"),
    examples=("x509", "token"),
)
_PERSON = Text(
    wanted="a string of at most 256 Unicode characters",
    longest=256,
    examples=("team-payments", "A. Auditor, 2026-11-02"),
)

# -- The tables ---------------------------------------------------------------

TRUST_DOMAINS = TableKey(
    name="trust_domains",
    holds=Texts(_TRUST_DOMAIN),
    meaning="The environment's own trust domains. The first is the current one, the others are "
    "aliases for a migration. A trust domain belongs to one environment only.",
    missing='a list of strings, such as ["prod.example.org"]',
)
FEDERATES_WITH = TableKey(
    name="federates_with",
    holds=Texts(_TRUST_DOMAIN),
    meaning="Trust domains of others; rules may name their peers.",
)
ISSUERS = TableKey(
    name="issuers",
    holds=NamedTables(ISSUER),
    meaning="The issuers whose tokens this environment believes, by name: [environments.prod.issuers.okta]. "
    "An issuer belongs to one environment only.",
)
ENVIRONMENT = Table(
    name="environment",
    meaning="One environment. A policy is loaded for one of them.",
    home="under [environments.NAME]",
    keys=(TRUST_DOMAINS, FEDERATES_WITH, ISSUERS),
)

ID = TableKey(
    name="id",
    holds=Text(
        wanted="1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit",
        longest=64,
        form=re.compile(r"[a-z0-9][a-z0-9._-]*"),
        examples=("checkout-charges-cards",),
    ),
    meaning="The name of the rule, unique in the file; decisions and audit events carry it.",
    missing='a name for the rule, such as "checkout-charges-cards"',
)
WHY = TableKey(
    name="why",
    holds=Text(
        wanted="a string of at most 1024 Unicode characters",
        longest=1024,
        examples=("Checkout charges cards. Owner: team-payments.",),
    ),
    meaning="What the rule is for; for people, decides nothing.",
)
OWNER = TableKey(
    name="owner",
    holds=_PERSON,
    meaning="Who answers for the rule; for people, decides nothing.",
)
REVIEWER = TableKey(
    name="reviewer",
    holds=_PERSON,
    meaning="Who looked at the rule last, and when; for people, decides nothing.",
)
FROM = TableKey(
    name="from",
    holds=Texts(PEERS_OF_RULE),
    meaning="Patterns of the peers that the rule is about: /path in the environment's own trust domains, or "
    "spiffe://trust-domain/path. '*' in a segment is any run of characters except '/'; '**' as a whole "
    "segment is any number of segments. '@name' is the peer, or the set of peers, of that name under "
    "[[peers]].",
    missing='a list of strings, such as ["/ns/checkout/**"]',
)
TO = TableKey(
    name="to",
    holds=Texts(_TARGET),
    meaning="Patterns of what they want to reach: a service, a port by its name, an endpoint. '**' is "
    "everything.",
    missing='a list of strings, such as ["payments"]',
)
NOT_FROM = TableKey(
    name="not_from",
    holds=Texts(PEERS_OF_RULE),
    meaning="The peers that the rule is not about, although `from` has them; written like `from`, and always "
    "by the SPIFFE ID of the certificate.",
)
HTTP = TableKey(
    name="http",
    holds=Texts(_CONDITION),
    meaning="The requests that the rule is about, each 'METHOD /path' with '*' for any method and wildcards "
    "in the path as it is after decoding (%2F, %3B, %23 and %25 are those that stay encoded there); every "
    "request, if the key is left out.",
)
NOT_HTTP = TableKey(
    name="not_http",
    holds=Texts(_CONDITION),
    meaning="The requests that the rule is not about, although `http` has them or is left out; written like "
    "`http`.",
)
UNTIL = TableKey(
    name="until",
    holds=Day(),
    meaning="The last day, in UTC, on which an allow rule counts; after it, the rule is no rule.",
)
EVIDENCE = TableKey(
    name="evidence",
    holds=Texts(_EVIDENCE),
    meaning='How a peer must prove itself, in an allow rule: ["x509"], which is the same as leaving the key '
    'out, or ["x509", "token"] for a certificate and a token that agree.',
)
OBSERVE = TableKey(
    name="observe",
    holds=Flag(),
    meaning="true: the rule decides nothing, and each decision records what it would have decided.",
)
RULE = Table(
    name="rule",
    meaning="One rule. Deny beats allow, no matching allow is a refusal, order means nothing.",
    home="under [[allow]] or [[deny]]",
    keys=(ID, WHY, OWNER, REVIEWER, FROM, NOT_FROM, TO, HTTP, NOT_HTTP, UNTIL, EVIDENCE, OBSERVE),
)

VERSION = TableKey(
    name="version",
    holds=Number(1),
    meaning="The version of the format; there is only 1.",
    missing="version = 1",
)
ENVIRONMENTS = TableKey(
    name="environments",
    holds=NamedTables(ENVIRONMENT),
    meaning="The environments, by name: [environments.prod].",
    missing="tables [environments.NAME], each with trust_domains",
)
RULES = {
    Effect.ALLOW: TableKey(
        name=Effect.ALLOW.value, holds=ListedTables(RULE), meaning="Rules that let peers in: [[allow]]."
    ),
    Effect.DENY: TableKey(
        name=Effect.DENY.value,
        holds=ListedTables(RULE),
        meaning="Rules that keep peers out, whatever allows them: [[deny]].",
    ),
}
PEERS = TableKey(
    name="peers",
    holds=ListedTables(NAMED_PEER),
    meaning="Workloads by name, each with everything by which it may prove itself, and sets of them: "
    "[[peers]].",
)
OBSERVE_ALL = TableKey(
    name="observe",
    holds=Flag(),
    meaning="true: the whole policy only observes. Every verified peer is let in, and what would have been "
    "decided is recorded.",
)
FILE = Table(
    name="policy",
    meaning="Who may reach what, in every environment.",
    home="at the top level (in TOML: before the first [table])",
    keys=(VERSION, ENVIRONMENTS, PEERS, *RULES.values(), OBSERVE_ALL),
)
TABLES = (FILE, ENVIRONMENT, RULE, ISSUER, NAMED_PEER, ALIAS)
