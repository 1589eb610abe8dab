"""Policy files with issuers and peers by name, as documents to change."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from meshid import InvalidPolicy, Policy, Problem

AWS_ISSUER = "https://1f2e3d4c-5b6a-7980-1122-334455667788.tokens.sts.global.api.aws"
TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
THUMBPRINTS = tuple(f"{letter}zbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" for letter in "NOPQ")

ISSUERS: Mapping[str, Mapping[str, object]] = {
    "okta": {
        "profile": "okta",
        "issuer": "https://acme.okta.com/oauth2/default",
        "audience": ["api://payments"],
    },
    "aws": {
        "profile": "aws-iam",
        "issuer": AWS_ISSUER,
        "audience": ["payments.prod"],
        "pins": {"aws_account": "111122223333"},
    },
    "cluster": {
        "profile": "kubernetes",
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "audience": ["meshid:prod"],
        "jwks": "https://kubernetes.default.svc/openid/v1/jwks",
        "roots": "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
        "bearer_file": "/var/run/secrets/kubernetes.io/serviceaccount/token",
    },
    "eks": {
        "profile": "eks",
        "issuer": "https://oidc.eks.us-east-1.amazonaws.com/id/1A2B3C",
        "audience": ["meshid:prod"],
    },
    "ci": {
        "profile": "github-actions",
        "audience": ["meshid:prod"],
        "pins": {"repository_owner_id": "1234"},
    },
    "google": {"profile": "google", "audience": ["meshid:prod"]},
    "entra": {
        "profile": "entra",
        "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
        "audience": ["api://payments"],
    },
    "spire": {"profile": "jwt-svid", "audience": ["payments"]},
    "other": {"profile": "oidc", "issuer": "https://id.example.org", "audience": ["payments"]},
}
"""A right issuer of each profile."""

PEER: Mapping[str, object] = {
    "name": "payments-api",
    "spiffe": ["/ns/payments/sa/api"],
    "kubernetes": ["payments/api"],
    "aws": ["arn:aws:iam::111122223333:role/payments-api"],
    "okta": ["0oa1b2c3d4e5"],
    "tokens": [{"issuer": "ci", "principal": "repo:acme/payments:*"}],
}
"""A peer with an alias of each kind."""

RULE: Mapping[str, object] = {
    "id": "payments-refunds",
    "from": ["@payments-api"],
    "to": ["refunds"],
    "evidence": ["x509", "token"],
}


def document(**issuers: Mapping[str, object]) -> dict[str, Any]:
    """Return a right document: dev without issuers, prod with *issuers*, or with those of `ISSUERS`."""
    return copy.deepcopy(
        {
            "version": 1,
            "environments": {
                "dev": {"trust_domains": ["dev.example.org"]},
                "prod": {
                    "trust_domains": ["prod.example.org"],
                    "federates_with": ["partner.example"],
                    "issuers": dict(issuers or ISSUERS),
                },
            },
            "peers": [dict(PEER)],
            "allow": [dict(RULE)],
        }
    )


def loaded(document: object, environment: str = "prod") -> Policy:
    """Load a document."""
    return Policy.from_json(json.dumps(document), environment=environment)


def problems_of(document: object, environment: str = "prod") -> tuple[Problem, ...]:
    """Return what is wrong in a document; nothing if it loads."""
    try:
        loaded(document, environment)
    except InvalidPolicy as error:
        return error.problems
    return ()
