"""The providers, one row each: the claims that they document, and what strangers get from them."""

from __future__ import annotations

from meshid.reasons import Reason
from tests.helpers.provider_tokens import PROD, Forgery, Provider, Stranger

AUDIENCE, CLAIMS, TYPE, DATE = (
    Reason.TOKEN_AUDIENCE,
    Reason.TOKEN_CLAIMS,
    Reason.TOKEN_TYPE,
    Reason.TOKEN_NOT_IN_DATE,
)
_AWS = "https://sts.amazonaws.com/"
_ROLE = "arn:aws:iam::111122223333:role/payments-api"
_IN_AWS = {
    "aws_account": "111122223333",
    "source_region": "us-east-1",
    "org_id": "o-abc1234567",
    "ou_path": "o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/",
    "principal_tags": {"environment": "production", "team": "payments"},
    "lambda_source_function_arn": "arn:aws:lambda:us-east-1:111122223333:function:payments",
    "request_tags": {"job-id": "job-2024-001"},
}
_IN_POD = {
    "namespace": "payments",
    "node": {"name": "worker-1", "uid": "517eb86e-b863-451b-bf70-86cb61439a3a"},
    "pod": {"name": "api-7d9", "uid": "0d8b260e-ef0e-45fb-be8e-ff44f97722e8"},
    "serviceaccount": {"name": "api", "uid": "e6a8680e-d103-4cce-80ea-03acbbeacf7d"},
    "warnafter": 1_800_003_607,
}
_SERVICE_ACCOUNT = "system:serviceaccount:payments:api"
_REPOSITORY = "acme@65/payments@74"
_TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
_OTHER_TENANT = "bbbbcccc-1111-dddd-2222-eeee3333ffff"
_APP = "00001111-aaaa-2222-bbbb-3333cccc4444"
_OBJECT = "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"

COMMON = (
    Forgery(why="another's keys", expected=Reason.TOKEN_SIGNATURE, by_others=True),
    Forgery(
        why="another's keys with another name",
        expected=Reason.TOKEN_KEY_UNKNOWN,
        by_others=True,
        header={"kid": "key-2"},
    ),
    Forgery(why="for another service", expected=AUDIENCE, claims={"aud": "reports"}),
    Forgery(why="for nobody", expected=AUDIENCE, claims={"aud": None}),
    Forgery(why="yesterday's", expected=DATE, claims={"iat": 1_799_900_000, "exp": 1_799_903_600}),
    Forgery(why="a logout token", expected=TYPE, header={"typ": "logout+jwt"}),
)


def _kubernetes(profile: str, issuer: str, source: str, *forgeries: Forgery) -> Provider:
    return Provider(
        profile=profile,
        source=source,
        section=f"""
            issuer = "{issuer}"
            audience = ["meshid:prod"]
            {'jwks = "/var/run/keys.json"' if profile == "kubernetes" else ""}
            """,
        alias='kubernetes = ["payments/api"]',
        issuer=issuer,
        claims={
            "aud": ["meshid:prod"],
            "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936",
            "kubernetes.io": _IN_POD,
            "nbf": 1_800_000_000,
            "sub": _SERVICE_ACCOUNT,
        },
        principal="payments/api",
        forgeries=(
            *forgeries,
            Forgery(why="for the API server", expected=AUDIENCE, claims={"aud": [issuer]}),
            Forgery(
                why="sub and namespace differ",
                expected=CLAIMS,
                claims={"kubernetes.io": {**_IN_POD, "namespace": "dev"}},
            ),
            Forgery(
                why="sub and service account differ",
                expected=CLAIMS,
                claims={"kubernetes.io": {**_IN_POD, "serviceaccount": {"name": "other", "uid": "1"}}},
            ),
            Forgery(
                why="a token of a Secret: it is bound to no pod and never ends",
                expected=CLAIMS,
                claims={
                    "exp": None,
                    "kubernetes.io": None,
                    "kubernetes.io/serviceaccount/namespace": "payments",
                    "kubernetes.io/serviceaccount/service-account.name": "api",
                },
            ),
            Forgery(why="a user", expected=CLAIMS, claims={"sub": "kubernetes-admin"}),
            Forgery(why="a node", expected=CLAIMS, claims={"sub": "system:node:worker-1"}),
            Forgery(
                why="a namespace with a slash in it",
                expected=CLAIMS,
                claims={"sub": "system:serviceaccount:payments/api:x"},
            ),
            Forgery(
                why="a subject with a third part", expected=CLAIMS, claims={"sub": f"{_SERVICE_ACCOUNT}:x"}
            ),
            Forgery(why="only the name", expected=CLAIMS, claims={"sub": "payments/api"}),
        ),
        strangers=(
            Stranger(
                why="the same service account in another namespace",
                claims={
                    "sub": "system:serviceaccount:dev:api",
                    "kubernetes.io": {**_IN_POD, "namespace": "dev"},
                },
                principal="dev/api",
            ),
        ),
    )


OKTA = Provider(
    profile="okta",
    source="https://developer.okta.com/docs/api/openapi/okta-oauth/guides/overview/",
    section="""
        issuer = "https://acme.okta.com/oauth2/default"
        audience = ["api://payments"]
        """,
    alias='okta = ["0oa1b2c3d4e5"]',
    issuer="https://acme.okta.com/oauth2/default",
    claims={
        "ver": 1,
        "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
        "aud": "api://payments",
        "cid": "0oa1b2c3d4e5",
        "scp": ["payments.write"],
        "sub": "0oa1b2c3d4e5",
    },
    principal="0oa1b2c3d4e5",
    forgeries=(
        Forgery(
            why="a user's access token",
            expected=CLAIMS,
            claims={"uid": "00uid4BxXw6I6TV4m0g3", "sub": "jo@acme.example", "auth_time": 1_800_000_000},
        ),
        Forgery(why="a user who is called like the client", expected=CLAIMS, claims={"uid": "00u1"}),
        Forgery(
            why="another client's, renamed", expected=CLAIMS, claims={"sub": "0oa1b2c3d4e5", "cid": "0oa9"}
        ),
        Forgery(
            why="an ID token",
            expected=TYPE,
            claims={"aud": "api://payments", "cid": None, "amr": ["pwd"], "idp": "00o1", "at_hash": "x"},
        ),
        Forgery(
            why="an ID token of this client",
            expected=AUDIENCE,
            claims={"aud": "0oa1b2c3d4e5", "amr": ["pwd"]},
        ),
        Forgery(
            why="of the organization's own server",
            expected=None,
            issuer="https://acme.okta.com",
            header={"typ": "application/okta-internal-at+jwt"},
        ),
        Forgery(
            why="of the organization's own server, with our issuer",
            expected=TYPE,
            header={"typ": "application/okta-internal-at+jwt"},
        ),
        Forgery(why="of another server", expected=None, issuer="https://acme.okta.com/oauth2/aus1"),
        Forgery(why="of another organization", expected=None, issuer="https://evil.okta.com/oauth2/default"),
        Forgery(why="with a slash at the end", expected=None, issuer="https://acme.okta.com/oauth2/default/"),
        Forgery(why="a scope in place of the client", expected=CLAIMS, claims={"cid": ["0oa1b2c3d4e5"]}),
    ),
    strangers=(Stranger(why="another client", claims={"cid": "0oa9", "sub": "0oa9"}, principal="0oa9"),),
)

AWS_IAM = Provider(
    profile="aws-iam",
    source="https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_outbound_token_claims.html",
    section="""
        issuer = "https://1f2e3d4c-0000.tokens.sts.global.api.aws"
        audience = ["payments.prod"]
        pins = { aws_account = "111122223333" }
        """,
    alias=f'aws = ["{_ROLE}"]',
    issuer="https://1f2e3d4c-0000.tokens.sts.global.api.aws",
    claims={"aud": "payments.prod", "sub": _ROLE, "jti": "xyz123-def456-ghi789-jkl012", _AWS: _IN_AWS},
    header={"typ": "JWT"},
    algorithm="ES384",
    principal=_ROLE,
    forgeries=(
        Forgery(
            why="another account's",
            expected=CLAIMS,
            claims={
                "sub": _ROLE.replace("111122223333", "444455556666"),
                _AWS: {**_IN_AWS, "aws_account": "444455556666"},
            },
        ),
        Forgery(
            why="another account's, tagged with ours",
            expected=CLAIMS,
            claims={
                _AWS: {
                    **_IN_AWS,
                    "aws_account": "444455556666",
                    "request_tags": {"aws_account": "111122223333"},
                }
            },
        ),
        Forgery(
            why="the account is only on the top level",
            expected=CLAIMS,
            claims={"aws_account": "111122223333", _AWS: {"request_tags": {"aws_account": "111122223333"}}},
        ),
        Forgery(why="without Amazon's claims", expected=CLAIMS, claims={_AWS: None}),
        Forgery(
            why="the account is a number",
            expected=CLAIMS,
            claims={_AWS: {**_IN_AWS, "aws_account": 111122223333}},
        ),
        Forgery(
            why="a session, not a role",
            expected=CLAIMS,
            claims={"sub": "arn:aws:sts::111122223333:assumed-role/payments-api/i-1"},
        ),
        Forgery(why="a user", expected=CLAIMS, claims={"sub": "arn:aws:iam::111122223333:user/jo"}),
        Forgery(why="the root user", expected=CLAIMS, claims={"sub": "arn:aws:iam::111122223333:root"}),
        Forgery(
            why="a role of another account than it says",
            expected=CLAIMS,
            claims={"sub": _ROLE.replace("111122223333", "444455556666")},
        ),
        Forgery(
            why="of another account's issuer",
            expected=None,
            issuer="https://9a8b7c6d-0000.tokens.sts.global.api.aws",
        ),
        Forgery(why="for Amazon", expected=AUDIENCE, claims={"aud": "sts.amazonaws.com"}),
    ),
    strangers=(
        Stranger(
            why="a role with a tag of ours",
            claims={
                "sub": "arn:aws:iam::111122223333:role/other",
                _AWS: {**_IN_AWS, "request_tags": {"sub": _ROLE, "role": _ROLE}},
            },
            principal="arn:aws:iam::111122223333:role/other",
        ),
        Stranger(
            why="a role of the same name on another path",
            claims={"sub": "arn:aws:iam::111122223333:role/dev/payments-api"},
            principal="arn:aws:iam::111122223333:role/dev/payments-api",
        ),
    ),
)

KUBERNETES = _kubernetes(
    "kubernetes",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/",
    # Each cluster has this issuer unless it is told otherwise, and only their keys tell them apart.
    Forgery(why="another cluster with the same issuer", expected=Reason.TOKEN_SIGNATURE, by_others=True),
    Forgery(
        why="another cluster with the same issuer, and a key of its own name",
        expected=Reason.TOKEN_KEY_UNKNOWN,
        by_others=True,
        header={"kid": "FuKqYI6YL3"},
    ),
    Forgery(why="of an old cluster", expected=None, issuer="kubernetes/serviceaccount"),
)

EKS = _kubernetes(
    "eks",
    "https://oidc.eks.us-east-1.amazonaws.com/id/D08A1B2C3D4E5F60718293A4B5C6D7E8",
    "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html",
    Forgery(
        why="another cluster",
        expected=None,
        issuer="https://oidc.eks.us-east-1.amazonaws.com/id/00000000000000000000000000000000",
    ),
    Forgery(
        why="the same id in another region",
        expected=None,
        issuer="https://oidc.eks.us-west-2.amazonaws.com/id/D08A1B2C3D4E5F60718293A4B5C6D7E8",
    ),
    Forgery(why="for a role of AWS", expected=AUDIENCE, claims={"aud": ["sts.amazonaws.com"]}),
)

GITHUB_ACTIONS = Provider(
    profile="github-actions",
    # Names and ids in `sub`: https://github.blog/changelog/2026-04-23-immutable-subject-claims-for-github-actions-oidc-tokens/
    source="https://docs.github.com/en/actions/reference/security/oidc",
    section="""
        audience = ["meshid:prod"]
        pins = { repository_owner_id = "65", environment = "prod" }
        """,
    alias=f'tokens = [{{ issuer = "it", principal = "repo:{_REPOSITORY}:environment:prod" }}]',
    issuer="https://token.actions.githubusercontent.com",
    claims={
        "jti": "example-id",
        "sub": f"repo:{_REPOSITORY}:environment:prod",
        "environment": "prod",
        "aud": "meshid:prod",
        "ref": "refs/heads/main",
        "sha": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "repository": "acme/payments",
        "repository_owner": "acme",
        "actor_id": "12",
        "repository_visibility": "private",
        "repository_id": "74",
        "repository_owner_id": "65",
        "run_id": "42",
        "run_number": "10",
        "run_attempt": "2",
        "runner_environment": "github-hosted",
        "actor": "octocat",
        "workflow": "deploy",
        "workflow_ref": "acme/payments/.github/workflows/deploy.yml@refs/heads/main",
        "workflow_sha": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "head_ref": "",
        "base_ref": "",
        "event_name": "workflow_dispatch",
        "enterprise": "acme-inc",
        "enterprise_id": "7",
        "ref_protected": "true",
        "ref_type": "branch",
        "job_workflow_ref": "acme/automation/.github/workflows/oidc.yml@refs/heads/main",
        "job_workflow_sha": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "nbf": 1_799_999_400,
    },
    header={"typ": "JWT", "x5t": "example-thumbprint"},
    principal=f"repo:{_REPOSITORY}:environment:prod",
    forgeries=(
        Forgery(
            why="somebody else's who has registered the name again",
            expected=CLAIMS,
            claims={"repository_owner_id": "9001", "repository_id": "9002"},
        ),
        Forgery(
            why="somebody else's who says so in a number", expected=CLAIMS, claims={"repository_owner_id": 65}
        ),
        Forgery(why="without the owner's id", expected=CLAIMS, claims={"repository_owner_id": None}),
        Forgery(why="an empty owner", expected=CLAIMS, claims={"repository_owner_id": ""}),
        Forgery(why="for another environment", expected=CLAIMS, claims={"environment": "dev"}),
        Forgery(why="for no environment", expected=CLAIMS, claims={"environment": None}),
        Forgery(
            why="with the default audience", expected=AUDIENCE, claims={"aud": "https://github.com/acme"}
        ),
        Forgery(
            why="of an enterprise's own issuer",
            expected=None,
            issuer="https://token.actions.githubusercontent.com/acme",
        ),
    ),
    strangers=(
        Stranger(
            why="another repository of the owner",
            claims={"sub": "repo:acme@65/other@75:environment:prod", "repository_id": "75"},
            principal="repo:acme@65/other@75:environment:prod",
        ),
        Stranger(
            why="a pull request",
            claims={"sub": f"repo:{_REPOSITORY}:pull_request", "event_name": "pull_request"},
            principal=f"repo:{_REPOSITORY}:pull_request",
        ),
        Stranger(
            why="a repository of the same name, deleted and made again",
            claims={"sub": "repo:acme@65/payments@99:environment:prod", "repository_id": "99"},
            principal="repo:acme@65/payments@99:environment:prod",
        ),
    ),
)

GOOGLE = Provider(
    profile="google",
    source="https://cloud.google.com/compute/docs/instances/verifying-instance-identity",
    section="""
        audience = ["https://payments.acme.example"]
        pins = { project_id = "acme-prod" }
        """,
    alias='tokens = [{ issuer = "it", principal = "112179062720391305885" }]',
    issuer="https://accounts.google.com",
    claims={
        "aud": "https://payments.acme.example",
        "azp": "112179062720391305885",
        "sub": "112179062720391305885",
        "email": "api@acme-prod.iam.gserviceaccount.com",
        "email_verified": True,
        "google": {
            "compute_engine": {
                "project_id": "acme-prod",
                "project_number": 739419398126,
                "zone": "us-west1-a",
                "instance_id": "152986662232938449",
                "instance_name": "example",
                "instance_creation_timestamp": 1_799_952_000,
                "instance_confidentiality": 1,
                "license_id": ["1000204"],
            }
        },
    },
    header={"typ": "JWT"},
    principal="112179062720391305885",
    forgeries=(
        Forgery(
            why="a user's ID token",
            expected=TYPE,
            claims={"at_hash": "x", "hd": "acme.example", "email": "jo@acme.example", "google": None},
        ),
        Forgery(why="a user's ID token without a hash", expected=CLAIMS, claims={"google": None}),
        Forgery(
            why="a machine of another project",
            expected=CLAIMS,
            claims={"google": {"compute_engine": {"project_id": "evil-prod"}}},
        ),
        Forgery(
            why="the project is on the top level",
            expected=CLAIMS,
            claims={"google": None, "project_id": "acme-prod"},
        ),
        Forgery(why="the subject is a number", expected=CLAIMS, claims={"sub": 112179062720391305885}),
        Forgery(why="the issuer without https", expected=None, issuer="accounts.google.com"),
        Forgery(
            why="of a cluster of GKE",
            expected=None,
            issuer="https://container.googleapis.com/v1/projects/acme-prod/locations/us/clusters/one",
        ),
        Forgery(why="of Firebase", expected=None, issuer="https://securetoken.google.com/acme-prod"),
    ),
    strangers=(
        Stranger(
            why="an account made again with the same address",
            claims={"sub": "999999999999999999999", "azp": "999999999999999999999"},
            principal="999999999999999999999",
        ),
    ),
)

ENTRA = Provider(
    profile="entra",
    source="https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference",
    section=f"""
        issuer = "https://login.microsoftonline.com/{_TENANT}/v2.0"
        audience = ["{_APP}"]
        pins = {{ tid = "{_TENANT}" }}
        """,
    alias=f'tokens = [{{ issuer = "it", principal = "{_OBJECT}" }}]',
    issuer=f"https://login.microsoftonline.com/{_TENANT}/v2.0",
    claims={
        "aud": _APP,
        "aio": "E2ZgYGBYY/l1",
        "azp": "11112222-bbbb-3333-cccc-4444dddd5555",
        "azpacr": "2",
        "idtyp": "app",
        "nbf": 1_800_000_000,
        "oid": _OBJECT,
        "rh": "0.AW8A",
        "roles": ["Payments.Write"],
        "sub": _OBJECT,
        "tid": _TENANT,
        "uti": "aN_AzV8Ql0S9bSnCVQIiAA",
        "ver": "2.0",
    },
    header={"typ": "JWT"},
    principal=_OBJECT,
    forgeries=(
        Forgery(
            why="a user's",
            expected=CLAIMS,
            claims={
                "idtyp": "user",
                "scp": "Payments.Write",
                "name": "Jo",
                "preferred_username": "jo@acme.example",
            },
        ),
        Forgery(why="without saying whose", expected=CLAIMS, claims={"idtyp": None}),
        Forgery(why="an ID token", expected=TYPE, claims={"nonce": "12345"}),
        Forgery(
            why="of another tenant",
            expected=None,
            issuer=f"https://login.microsoftonline.com/{_OTHER_TENANT}/v2.0",
        ),
        Forgery(why="of another tenant, with our issuer", expected=CLAIMS, claims={"tid": _OTHER_TENANT}),
        Forgery(why="of any tenant", expected=None, issuer="https://login.microsoftonline.com/common/v2.0"),
        Forgery(why="of version 1", expected=None, issuer=f"https://sts.windows.net/{_TENANT}/"),
        Forgery(
            why="for Microsoft Graph",
            expected=AUDIENCE,
            claims={"aud": "00000003-0000-0000-c000-000000000000"},
        ),
        Forgery(why="without an object", expected=CLAIMS, claims={"oid": None}),
    ),
    strangers=(
        Stranger(
            why="an app made again with the same name",
            claims={"oid": "cccccccc-0000-1111-2222-dddddddddddd"},
            principal="cccccccc-0000-1111-2222-dddddddddddd",
        ),
    ),
)

JWT_SVID = Provider(
    profile="jwt-svid",
    source="https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md",
    section='audience = ["payments"]',
    alias="",
    issuer=None,
    claims={"aud": ["payments"], "sub": f"spiffe://{PROD}/ns/payments/sa/api"},
    header={"typ": "JWT"},
    algorithm="ES256",
    principal=f"spiffe://{PROD}/ns/payments/sa/api",
    forgeries=(
        Forgery(
            why="of another trust domain", expected=None, claims={"sub": "spiffe://dev.example.org/ns/a/sa/b"}
        ),
        Forgery(why="the trust domain itself", expected=CLAIMS, claims={"sub": f"spiffe://{PROD}"}),
        Forgery(why="a WIT-SVID", expected=TYPE, header={"typ": "wit+jwt"}),
        Forgery(why="with a key in it", expected=Reason.TOKEN_MALFORMED, header={"jwk": {"kty": "EC"}}),
    ),
    strangers=(
        Stranger(
            why="another workload",
            claims={"sub": f"spiffe://{PROD}/ns/dev/sa/api"},
            principal=f"spiffe://{PROD}/ns/dev/sa/api",
        ),
    ),
)

OIDC = Provider(
    profile="oidc",
    source="https://www.rfc-editor.org/rfc/rfc9068#section-2.2",
    section="""
        issuer = "https://id.acme.example"
        audience = ["https://payments.acme.example/"]
        principal = "client_id"
        pins = { tenant = "acme" }
        """,
    alias='tokens = [{ issuer = "it", principal = "s6BhdRkqt3" }]',
    issuer="https://id.acme.example",
    claims={
        "sub": "5ba552d67",
        "aud": "https://payments.acme.example/",
        "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
        "client_id": "s6BhdRkqt3",
        "scope": "payments:write",
        "tenant": "acme",
    },
    header={"typ": "at+JWT"},
    principal="s6BhdRkqt3",
    forgeries=(
        Forgery(why="of another tenant", expected=CLAIMS, claims={"tenant": "evil"}),
        Forgery(why="of several tenants", expected=CLAIMS, claims={"tenant": ["acme", "evil"]}),
        Forgery(why="an ID token", expected=TYPE, claims={"nonce": "n-0S6_WzA2Mj"}),
        Forgery(why="a security event", expected=TYPE, header={"typ": "secevent+jwt"}),
        Forgery(why="a DPoP proof", expected=TYPE, header={"typ": "dpop+jwt"}),
        Forgery(why="without a subject", expected=CLAIMS, claims={"sub": None}),
        Forgery(why="without a client", expected=CLAIMS, claims={"client_id": None}),
        Forgery(why="http", expected=None, issuer="http://id.acme.example"),
    ),
    strangers=(
        Stranger(why="another client", claims={"client_id": "other"}, principal="other"),
        Stranger(why="a name with a slash", claims={"client_id": "/s6BhdRkqt3"}, principal="/s6BhdRkqt3"),
    ),
)

PROVIDERS = (OKTA, AWS_IAM, KUBERNETES, EKS, GITHUB_ACTIONS, GOOGLE, ENTRA, JWT_SVID, OIDC)
