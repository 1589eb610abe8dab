"""The form of an issuer of tokens in a policy file."""

from __future__ import annotations

import re

from meshid.policy.file.shapes import Flag, NamedTexts, Seconds, Table, TableKey, Text, Texts
from meshid.policy.issuers import DEFAULT_SECONDS, IssuerProfile

_MAX_URL = 1024
_MAX_PATH = 4096
_MAX_CLAIM = 256

_FILE_PATH = Text(
    wanted="an absolute path",
    longest=_MAX_PATH,
    form=re.compile(r"/[ -~]*[!-~]"),
    examples=("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",),
)
_CLAIM = Text(wanted="the name of a claim", longest=_MAX_CLAIM, form=re.compile("[!-~]+"), examples=("sub",))

PROFILE = TableKey(
    name="profile",
    holds=Text(
        wanted=f"one of {', '.join(IssuerProfile)}",
        longest=max(map(len, IssuerProfile)),
        form=re.compile("|".join(IssuerProfile)),
        examples=tuple(IssuerProfile),
    ),
    meaning="Whose tokens they are: that decides which claim names the principal, and what must be pinned.",
    missing='the kind of issuer, such as "kubernetes" or "oidc"',
)
ISS = TableKey(
    name="issuer",
    holds=Text(
        wanted="an https:// URL with its host in lower case, without a user, a query or a fragment",
        longest=_MAX_URL,
        form=re.compile(r"https://[a-z0-9._:-]+(?:/[A-Za-z0-9._~!$&'()+,;=:@%/*-]*)?"),
        examples=("https://acme.okta.com/oauth2/default",),
    ),
    meaning="The `iss` of its tokens, byte for byte. The profiles github-actions and google have only one; "
    "JWT-SVIDs need none.",
)
AUDIENCE = TableKey(
    name="audience",
    holds=Texts(
        Text(
            wanted="a value of `aud`: printable ASCII without white space and '*'",
            longest=1000,
            form=re.compile("[!-)+-~]+"),
            examples=("api://payments",),
        )
    ),
    meaning="The values of `aud` that mean the services of this environment; a token needs one of them, "
    "byte for byte.",
    missing='a list of strings, such as ["payments.prod"]',
)
PRINCIPAL = TableKey(
    name="principal",
    holds=_CLAIM,
    meaning="The claim that names the principal, for the profiles oidc, github-actions, google and entra; "
    "the profile has a default.",
)
PINS = TableKey(
    name="pins",
    holds=NamedTexts(
        Text(
            wanted="a string of at most 1024 characters, not empty",
            longest=1024,
            form=re.compile("[!-~](?:[ -~]*[!-~])?"),
            examples=("111122223333",),
        )
    ),
    meaning="Claims that each token must have, with their only values. An issuer that is shared by "
    "strangers must be pinned to what is yours.",
)
JWKS = TableKey(
    name="jwks",
    holds=Text(
        wanted="an https:// URL or an absolute path",
        longest=_MAX_PATH,
        form=re.compile(
            r"https://[a-z0-9._:-]+(?:/[A-Za-z0-9._~!$&'()+,;=:@%/?*-]*)?|"
            + (_FILE_PATH.form or re.compile("")).pattern
        ),
        examples=("https://kubernetes.default.svc/openid/v1/jwks", "/etc/meshid/keys.json"),
    ),
    meaning="Where its keys are: a URL or an absolute path of a file. Without it they are discovered at "
    "the issuer.",
)
ROOTS = TableKey(
    name="roots",
    holds=_FILE_PATH,
    meaning="The file of the authorities for the web server that has its keys; without it, the system's.",
)
BEARER_FILE = TableKey(
    name="bearer_file",
    holds=_FILE_PATH,
    meaning="The file of a token to ask for the keys with, as Kubernetes wants it.",
)
PINNED_KEYS = TableKey(
    name="pinned_keys",
    holds=Texts(
        Text(
            wanted="a thumbprint of RFC 7638 with SHA-256: 43 characters of base64url",
            longest=43,
            form=re.compile("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"),
            examples=("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",),
        )
    ),
    meaning="The thumbprints of the only keys that count, whatever else the issuer publishes.",
)
BINDING = TableKey(
    name="binding",
    holds=Text(
        wanted='"if-present" or "required"',
        longest=len("if-present"),
        form=re.compile("if-present|required"),
        examples=("if-present", "required"),
    ),
    meaning="required: a token that is bound to no certificate is refused. if-present, the default: what a "
    "token is bound to must be there.",
)
CONFIRM_BY_TLS_KEY = TableKey(
    name="confirm_by_tls_key",
    holds=Flag(),
    meaning="true: a token that names a key (`jkt`, `jwk`) is bound by the key of the peer's certificate; "
    "otherwise such a token is refused.",
)
MAX_LIFETIME = TableKey(
    name="max_lifetime",
    holds=Seconds(60, 604800, DEFAULT_SECONDS),
    meaning="The most seconds for which a token may be valid.",
)
MAX_STALE = TableKey(
    name="max_stale",
    holds=Seconds(60, 604800, DEFAULT_SECONDS),
    meaning="For how many seconds the keys that were read last count when they can no longer be read.",
)
ISSUER = Table(
    name="issuer",
    meaning="An issuer whose tokens one environment believes.",
    home="under [environments.NAME.issuers.NAME]",
    keys=(
        PROFILE,
        ISS,
        AUDIENCE,
        PRINCIPAL,
        PINS,
        JWKS,
        ROOTS,
        BEARER_FILE,
        PINNED_KEYS,
        BINDING,
        CONFIRM_BY_TLS_KEY,
        MAX_LIFETIME,
        MAX_STALE,
    ),
)
