"""The facts of the profiles agree with each other, and with what the providers document."""

from __future__ import annotations

import pytest

from meshid.policy.issuer_profiles import JUDGED_CLAIMS, PROFILES, pin_path
from meshid.policy.issuers import IssuerProfile

AWS = "https://sts.amazonaws.com/"


@pytest.mark.parametrize("profile", IssuerProfile)
def test_the_facts_of_a_profile_agree(profile: IssuerProfile) -> None:
    facts = PROFILES[profile]
    assert facts.source
    assert all(pin_path(profile, claim) for claim in facts.needed_pins)
    assert facts.principal not in facts.never
    if facts.principals:
        assert facts.principal in facts.principals
        assert facts.never.keys().isdisjoint(facts.principals)
    assert facts.never.keys().isdisjoint(facts.pins or ())
    assert JUDGED_CLAIMS.isdisjoint(facts.pins or ())
    if facts.fixed_issuer is not None:
        assert facts.issuer_form is None


@pytest.mark.parametrize(
    ("profile", "claim", "path"),
    [
        ("aws-iam", "aws_account", (AWS, "aws_account")),
        ("aws-iam", "principal_tags/team", (AWS, "principal_tags", "team")),
        ("aws-iam", "principal_tags/a/b", (AWS, "principal_tags", "a/b")),
        ("aws-iam", "principal_tags/", None),
        ("aws-iam", "request_tags/team", None),
        ("kubernetes", "namespace", ("kubernetes.io", "namespace")),
        ("eks", "serviceaccount/uid", ("kubernetes.io", "serviceaccount", "uid")),
        ("kubernetes", "kubernetes.io", None),
        ("github-actions", "repository_owner_id", ("repository_owner_id",)),
        ("google", "project_id", ("google", "compute_engine", "project_id")),
        ("okta", "https://acme.example/team", ("https://acme.example/team",)),
        ("oidc", "a/b", ("a/b",)),
        ("jwt-svid", "sub", None),
    ],
    ids=str,
)
def test_a_pin_is_at_its_documented_place(profile: str, claim: str, path: tuple[str, ...] | None) -> None:
    assert pin_path(IssuerProfile(profile), claim) == path


@pytest.mark.parametrize(
    ("profile", "claim", "principal"),
    [
        ("kubernetes", "system:serviceaccount:payments:api", "payments/api"),
        ("eks", "system:serviceaccount:payments:api.v1", "payments/api.v1"),
        ("kubernetes", "system:serviceaccount:payments", None),
        ("kubernetes", "system:serviceaccount:payments:api:x", None),
        ("kubernetes", "system:serviceaccount:pay/ments:api", None),
        ("kubernetes", "system:serviceaccount::api", None),
        ("kubernetes", "system:node:payments:api", None),
        ("kubernetes", "payments/api", None),
        ("oidc", "system:serviceaccount:payments:api", "system:serviceaccount:payments:api"),
    ],
)
def test_a_service_account_is_its_namespace_and_its_name(
    profile: str, claim: str, principal: str | None
) -> None:
    assert PROFILES[IssuerProfile(profile)].principal_of(claim) == principal
