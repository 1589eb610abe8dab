"""The form of a peer by name in a policy file."""

from __future__ import annotations

import re

from meshid.names.pattern import MAX_PATTERN_LENGTH
from meshid.names.peer_pattern import PEER
from meshid.names.spiffe_id import MAX_TRUST_DOMAIN_BYTES
from meshid.policy.file.shapes import ListedTables, Table, TableKey, Text, Texts

NAME = re.compile("[a-z0-9][a-z0-9._-]{0,63}")
"""The form of a name, of a peer and of an issuer."""

PEERS_OF_RULE = Text(
    wanted="a pattern of peers",
    longest=len("spiffe://") + MAX_TRUST_DOMAIN_BYTES + MAX_PATTERN_LENGTH,
    form=re.compile(rf"\*\*|@{NAME.pattern}|{PEER.pattern}"),
    examples=(
        "/ns/checkout/sa/api",
        "/ns/checkout/**",
        "spiffe://partner.example/ns/accounting/**",
        "@payments-api",
    ),
)
NAME_OF_ISSUER = Text(
    wanted="the name of an issuer: 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit",
    longest=64,
    form=NAME,
    examples=("ci",),
)
ALIAS_ISSUER = TableKey(
    name="issuer",
    holds=NAME_OF_ISSUER,
    meaning="The name of the issuer, as in [environments.NAME.issuers.NAME].",
    missing='the name of an issuer, such as "ci"',
)
ALIAS_PRINCIPAL = TableKey(
    name="principal",
    holds=Text(
        wanted="a pattern of principals: no leading '/', no white space, no control characters",
        longest=MAX_PATTERN_LENGTH,
        form=re.compile(r"[^\s/]+(?:/[^\s/]+)*"),
        examples=("repo:acme@65/payments@74:*", "0a1b2c3d"),
    ),
    meaning="The pattern of the principals, in the grammar of all patterns: '*' in a segment is any run of "
    "characters except '/'.",
    missing='a pattern, such as "repo:acme@65/payments@74:*"',
)
ALIAS = Table(
    name="alias",
    meaning="Principals of one issuer.",
    home="in tokens = [{ issuer = ..., principal = ... }] under [[peers]]",
    keys=(ALIAS_ISSUER, ALIAS_PRINCIPAL),
)

PEER_NAME = TableKey(
    name="name",
    holds=Text(
        wanted="1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit",
        longest=64,
        form=NAME,
        examples=("payments-api",),
    ),
    meaning="The name of the workload or the set, unique in the file; rules say '@name'. It has no "
    "environment in it.",
    missing='a name for the peer, such as "payments-api"',
)
SPIFFE = TableKey(
    name="spiffe",
    holds=Texts(
        Text(
            wanted="a pattern of peers",
            longest=len("spiffe://") + MAX_TRUST_DOMAIN_BYTES + MAX_PATTERN_LENGTH,
            form=re.compile(rf"\*\*|{PEER.pattern}"),
            examples=("/ns/payments/sa/api",),
        )
    ),
    meaning="The SPIFFE IDs of its certificates: patterns as in `from`. No trust domain of an environment "
    "is named here: each environment has its own.",
)
KUBERNETES = TableKey(
    name="kubernetes",
    holds=Texts(
        Text(
            wanted="namespace/service-account",
            longest=MAX_PATTERN_LENGTH,
            form=re.compile("[a-z0-9.*-]+/[a-z0-9.*-]+"),
            examples=("payments/api",),
        )
    ),
    meaning="Its Kubernetes service accounts, each namespace/service-account, for issuers with profile "
    "kubernetes or eks.",
)
AWS = TableKey(
    name="aws",
    holds=Texts(
        Text(
            wanted="the ARN of an IAM role or user",
            longest=MAX_PATTERN_LENGTH,
            form=re.compile(
                "arn:aws[a-z-]*:iam::[0-9*]{1,12}:(?:role|user)/[A-Za-z0-9+=,.@_*/-]*[A-Za-z0-9+=,.@_*-]"
            ),
            examples=("arn:aws:iam::111122223333:role/payments-api",),
        )
    ),
    meaning="Its AWS roles, by ARN, for issuers with profile aws-iam.",
)
OKTA = TableKey(
    name="okta",
    holds=Texts(
        Text(
            wanted="a client id, exactly",
            longest=100,
            form=re.compile("[!-)+-.0-~]+"),
            examples=("0oa1b2c3d4e5",),
        )
    ),
    meaning="Its Okta clients, by client id, for issuers with profile okta.",
)
TOKENS = TableKey(
    name="tokens",
    holds=ListedTables(ALIAS),
    meaning="The principals that tokens of any other issuer may name it by.",
)
MEMBERS = TableKey(
    name="members",
    holds=Texts(PEERS_OF_RULE),
    meaning="Makes it a set of peers instead: patterns as in `from`, and '@name' for peers by name. A set "
    "has no alias of its own, and holds no set.",
)
NAMED_PEER = Table(
    name="peer",
    meaning="One workload with a name, and everything by which it may prove itself: each alias belongs to "
    "one peer. Or, with `members`, a set of peers with a name.",
    home="under [[peers]]",
    keys=(PEER_NAME, SPIFFE, KUBERNETES, AWS, OKTA, TOKENS, MEMBERS),
)
ALIAS_KEYS = (SPIFFE, KUBERNETES, AWS, OKTA, TOKENS)
