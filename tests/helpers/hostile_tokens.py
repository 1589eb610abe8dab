"""Hostile tokens, each with the one reason that it is refused for, and good ones beside them.

Each is made from a token that would be right, so that exactly one thing is wrong with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import attrs
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from meshid.reasons import Reason
from tests.helpers.token_scene import AUDIENCE, ISS, NOW, TokenScene

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_DEEP = 3000

Make = Callable[[TokenScene], str]


@attrs.frozen
class HostileToken:
    """A token and what must become of it.

    Attributes:
        name: What is wrong with it.
        reason: Why it is refused; None if it is not for us to judge.
        make: Makes it.
    """

    name: str
    reason: Reason | None
    make: Make


def _b64(data: bytes | str | object) -> str:
    octets = (
        data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    )
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _header(members: object) -> Make:
    raw = members if isinstance(members, bytes) else json.dumps(members).encode()
    return lambda scene: scene.issuer.mint(scene.claims(), raw_header=raw)


def _with_header(**members: object) -> Make:
    return lambda scene: scene.token(members)


def _claims(**changes: object) -> Make:
    return lambda scene: scene.token(None, **changes)


def _payload(text: str | bytes) -> Make:
    return lambda scene: scene.text(text)


def _text(change: Callable[[str], str]) -> Make:
    return lambda scene: change(scene.token())


def _parts(change: Callable[[list[str]], list[str]]) -> Make:
    return lambda scene: ".".join(change(scene.token().split(".")))


def _signed(sign: Callable[[TokenScene, bytes], bytes], alg: str = "ES256") -> Make:
    return lambda scene: scene.issuer.mint(scene.claims(), sign=lambda data: sign(scene, data), alg=alg)


def _hmac(secret: Callable[[TokenScene], bytes]) -> Make:
    def make(scene: TokenScene) -> str:
        key = secret(scene)
        return scene.issuer.mint(
            scene.claims(),
            sign=lambda data: hmac.new(key, data, hashlib.sha256).digest(),
            alg="HS256",
            kid=scene.rsa.key_id,
        )

    return make


def _public(scene: TokenScene, encoding: serialization.Encoding) -> bytes:
    key = scene.rsa.private_key.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _jwk_text(scene: TokenScene) -> bytes:
    return json.dumps(scene.rsa.jwk()).encode()


def _spare_bits(part: str) -> str:
    """Write the same octets in another way."""
    spare = {2: 16, 3: 4}[len(part) % 4]
    last = _ALPHABET.index(part[-1])
    return part[:-1] + _ALPHABET[last - last % spare + (last + 1) % spare]


def _der_signature(scene: TokenScene, data: bytes) -> bytes:
    raw = scene.issuer.keys[-1].sign(data)
    return encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


def _stranger(**header: object) -> Make:
    def make(scene: TokenScene) -> str:
        members: dict[str, Any] = {
            name: value(scene) if callable(value) else value for name, value in header.items()
        }
        return scene.stranger.mint(scene.claims(), **members)

    return make


def _slashed(scene: TokenScene) -> str:
    head, payload, _ = scene.token().split(".")
    return f"{head}.{payload}.{'/' * 84}+w"


_FORM: dict[str, Make] = {
    "empty": lambda _: "",
    "a space": lambda _: " ",
    "a space before": _text(" {}".format),
    "a line end after": _text("{}\n".format),
    "a letter that is not ASCII": _text("{}é".format),
    "half a surrogate pair": _text("{}\ud800".format),
    "NUL": _text("{}\0".format),
    "two joined by a comma": lambda scene: f"{scene.token()}, {scene.token()}",
    "in quotes": _text('"{}"'.format),
    "the JSON form": lambda scene: json.dumps({"payload": scene.token().split(".")[1], "signatures": []}),
    "16 KiB and an octet": _text(lambda token: token + "A" * (16 * 1024 + 1 - len(token))),
    "a megabyte of dots": lambda _: "." * 2**20,
    "16 KiB of dots after it": _text(lambda token: token.ljust(16 * 1024, ".")),
    "two parts": _parts(lambda parts: parts[:2]),
    "four parts": _parts(lambda parts: [*parts, "AAAA"]),
    "five parts": _parts(lambda parts: [*parts, "AAAA", "AAAA"]),
    "a dot in the payload": _parts(lambda parts: [parts[0], parts[1][:8], parts[1][8:], parts[2]]),
    "a padded signature": _text("{}==".format),
    "a padded payload": _parts(
        lambda parts: [parts[0], parts[1] + "=" * (-len(parts[1]) % 4 or 4), parts[2]]
    ),
    "base64 with + and /": _slashed,
    "a tilde in the signature": _text("{}~".format),
    "spare bits in the signature": _parts(lambda parts: [*parts[:2], _spare_bits(parts[2])]),
    "a character too many": _text("{}AAA".format),
}
_JSON: dict[str, Make] = {
    "a byte order mark before the header": _header(b'\xef\xbb\xbf{"alg":"ES256"}'),
    "a header in UTF-16": _header('{"alg":"ES256"}'.encode("utf-16")),
    "alg twice": _header(b'{"alg":"none","alg":"ES256"}'),
    "kid twice": _header(b'{"alg":"ES256","kid":"key-1","kid":"key-3"}'),
    "a header with a comment": _header(b'{"alg":"ES256" /* none */}'),
    "sub twice": _payload('{"sub":"admin",$}'),
    "sub twice, the evil one last": _payload('{$,"sub":"admin"}'),
    "sub twice, once in escapes": _payload('{"\\u0073ub":"admin",$}'),
    "aud twice": _payload('{"aud":"else",$}'),
    "iss twice": _payload('{"iss":"https://else.example",$}'),
    "iss twice, ours in escapes": _payload(
        '{"iss":"https://else.example","sub":"x","iss":"' + ISS.replace("/", "\\/") + '"}'
    ),
    "exp twice": _payload('{"exp":9999999999,$}'),
    "a member twice, in an object": _payload('{"o":{"a":1,"a":2},$}'),
    "a member twice, in an array": _payload('{"o":[{"p":{"a":1,"a":1}}],$}'),
    "NaN": _payload('{"exp":NaN,' + f'"iss":"{ISS}"' + "}"),
    "Infinity": _payload('{"x":Infinity,$}'),
    "-Infinity": _payload('{"x":-Infinity,$}'),
    "1e400": _payload('{"x":1e400,$}'),
    "10**400": _payload('{"x":1' + "0" * 400 + ",$}"),
    "an integer of 5000 digits": _payload('{"x":' + "9" * 5000 + ",$}"),
    "a fraction of 5000 digits": _payload('{"x":0.' + "9" * 5000 + ",$}"),
    "3000 arrays deep": _payload('{"x":' + "[" * _DEEP + "]" * _DEEP + ",$}"),
    "3000 objects deep": _payload('{"x":' + '{"a":' * _DEEP + "1" + "}" * _DEEP + ",$}"),
    "3000 empty objects": _payload('{"x":[' + ",".join(["{}"] * _DEEP) + "],$}"),
    "256 objects in the one": _payload('{"x":[' + ",".join(["{}"] * 255) + "],$}"),
    "2001 commas": _payload('{"x":[' + "1," * 1995 + "1],$}"),
    "33 digits": _payload('{"x":' + "9" * 33 + ",$}"),
    "a second document": _payload("{$}{}"),
    "a comma at the end": _payload("{$,}"),
    "single quotes": _payload("{'a':1,$}"),
    "a line end in a text": _payload('{"x":"a\nb",$}'),
    "half a surrogate pair, escaped": _payload('{"x":["\\ud800"],$}'),
    "half a surrogate pair as a name": _payload('{"\\udfff":1,$}'),
    "not UTF-8": _payload(b'{"x":"\xff",$}'),
    "a surrogate in UTF-8": _payload(b'{"x":"\xed\xa0\x80",$}'),
    "an overlong slash": _payload(b'{"x":"\xc0\xaf",$}'),
    "a byte order mark": _payload(b"\xef\xbb\xbf{$}"),
    "UTF-16": lambda scene: scene.issuer.mint(json.dumps({"iss": ISS}).encode("utf-16-le")),
    "cut off": _payload("{$"),
}

_ALGORITHM: dict[str, Make] = {
    **{
        f"alg {alg!r} and no signature": _signed(lambda _, __: b"", alg=alg)
        for alg in ("none", "nOnE", "NONE", "", "None ")
    },
    "no alg": _with_header(alg=None),
    "HS256 with the public key in PEM": _hmac(lambda scene: _public(scene, serialization.Encoding.PEM)),
    "HS256 with the public key in DER": _hmac(lambda scene: _public(scene, serialization.Encoding.DER)),
    "HS256 with the JWK": _hmac(_jwk_text),
    "HS256 with an empty secret": _hmac(lambda _: b""),
    "ES256 on an RSA key": lambda scene: scene.token({"alg": "ES256", "kid": scene.rsa.key_id}),
    "RS256 on a P-256 key": _with_header(alg="RS256"),
    "PS256 on a key for RS256": lambda scene: scene.issuer.mint(scene.claims(), key=scene.rsa, alg="PS256"),
    "RS512 on a key for RS256": lambda scene: scene.issuer.mint(scene.claims(), key=scene.rsa, alg="RS512"),
    "ES384 on a P-256 key": _with_header(alg="ES384"),
    "ES256K": _with_header(alg="ES256K"),
    "es256 in lower case": _with_header(alg="es256"),
    "EdDSA on a P-256 key": _with_header(alg="EdDSA"),
    "RSA1_5": _with_header(alg="RSA1_5"),
    "dir": _with_header(alg="dir"),
    "an unknown crit": _with_header(crit=["exp2"], exp2=1),
    "an empty crit": _with_header(crit=[]),
    "a crit that is no array": _with_header(crit="alg"),
    "crit with what is known": _with_header(crit=["alg"]),
    "b64 is false": _with_header(b64=False, crit=["b64"]),
    "b64 is false, without crit": _with_header(b64=False),
    "b64 is true": _with_header(b64=True),
    "zip": _with_header(zip="DEF"),
}

_HEADER: dict[str, Make] = {
    "alg is null": _header({"alg": None}),
    "alg is a number": _with_header(alg=256),
    "alg is an array": _with_header(alg=["ES256"]),
    "kid is a number": _with_header(kid=1),
    "kid is an array": _with_header(kid=["key-3"]),
    "kid is null": lambda scene: scene.issuer.mint(scene.claims(), raw_header=b'{"alg":"ES256","kid":null}'),
    "typ is a number": _with_header(typ=1),
}

_TYPE: dict[str, Make] = {
    **{
        f"typ {typ!r}": _with_header(typ=typ)
        for typ in (
            *("logout+jwt", "application/logout+jwt", "LOGOUT+JWT", "wit+jwt", "wpt+jwt", "dpop+jwt"),
            *("secevent+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "kb+jwt", "dc+sd-jwt"),
            *("client-authentication+jwt", "okta-internal-at+jwt", "JOSE", "JWE", "", "JWT ", "application/"),
        )
    },
    "an ID token by its nonce": _claims(nonce="n-0S6_WzA2Mj"),
    "an ID token by its at_hash": _claims(at_hash="MTIzNDU2Nzg5MDEyMzQ1Ng"),
    "an ID token by its c_hash": _claims(c_hash="LDktKdoQak3Pk0cnXxCltA"),
    "a logout token by its events": _claims(events={}),
    "a DPoP proof by its htm": _claims(htm="GET", htu="https://payments.example/"),
    "an ID token of Cognito": _payload('{"token_use":"id",$}'),
    **{f"{kind} token of Keycloak": _claims(typ=kind) for kind in ("ID", "Refresh", "Offline", "Logout")},
}

_KEY: dict[str, Make] = {
    "no kid, and two keys": _with_header(kid=None),
    "an unknown kid": _with_header(kid="key-9"),
    "a kid in another case": _with_header(kid="KEY-3"),
    "an empty kid": _with_header(kid=""),
    "a kid of 8 KiB": _with_header(kid="k" * 8192),
    "a kid that is a path": _with_header(kid="../../../../dev/null"),
    "a kid that is SQL": _with_header(kid="x' UNION SELECT 'key"),
    "a kid that is a URL": _with_header(kid="https://evil.example/key"),
    "a kid that is __class__": _with_header(kid="__class__"),
    "a withdrawn key": lambda scene: scene.issuer.mint(scene.claims(), key=scene.withdrawn),
}

_SIGNATURE: dict[str, Make] = {
    "another payload": lambda scene: _recombined(scene.token(sub="admin"), scene.token()),
    "another header": lambda scene: _recombined(scene.token({"typ": "JWT"}), scene.token(), 1),
    "no signature": _signed(lambda _, __: b""),
    "half a signature": _signed(lambda scene, data: scene.issuer.keys[-1].sign(data)[:32]),
    "a signature and an octet": _signed(lambda scene, data: scene.issuer.keys[-1].sign(data) + b"\0"),
    "a signature in DER": _signed(_der_signature),
    "r and s are zero": _signed(lambda _, __: bytes(64)),
    "r and s are the order": _signed(
        lambda _, __: 2 * bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    ),
    "RSA with an empty signature": lambda scene: scene.issuer.mint(
        scene.claims(), key=scene.rsa, sign=lambda _: b""
    ),
    "RSA with a signature of zeros": lambda scene: scene.issuer.mint(
        scene.claims(), key=scene.rsa, sign=lambda _: bytes(256)
    ),
    "RSA with a signature that is larger than the modulus": lambda scene: scene.issuer.mint(
        scene.claims(), key=scene.rsa, sign=lambda _: b"\xff" * 256
    ),
    "a stranger's key with the same kid": _stranger(),
    "a stranger's key in the header": _stranger(jwk=lambda scene: scene.stranger.keys[-1].jwk()),
    "a stranger's key at a URL": _stranger(jku="https://evil.example/jwks"),
    "a stranger's certificate at a URL": _stranger(x5u="https://evil.example/certificate"),
    "a stranger's certificate": _stranger(x5c=["MIIB"]),
}


def _recombined(head: str, tail: str, count: int = 2) -> str:
    return ".".join([*head.split(".")[:count], *tail.split(".")[count:]])


_AUDIENCE: dict[str, Make] = {
    "no aud": _claims(aud=None),
    "aud is null": _payload('{"iss":"' + ISS + f'","exp":{NOW + 9},"sub":"api","aud":null' + "}"),
    "aud is empty": _claims(aud=""),
    "aud is an empty array": _claims(aud=[]),
    "aud of others": _claims(aud=["api://orders", "api://refunds"]),
    "aud in another case": _claims(aud=AUDIENCE.upper()),
    "aud with ours at its beginning": _claims(aud=AUDIENCE + "/v2"),
    "aud with a slash": _claims(aud=AUDIENCE + "/"),
    "aud with a space": _claims(aud=f"{AUDIENCE} payments"),
    "aud is a wildcard": _claims(aud="*"),
}

_DATES: dict[str, Make] = {
    "exp is past": _claims(exp=NOW - 31),
    "exp is 30 seconds ago": _claims(exp=NOW - 30),
    "exp is 0": _claims(exp=0),
    "exp is negative": _claims(exp=-NOW),
    "exp is -1e300": _claims(exp=-1e300),
    "exp in milliseconds": _claims(exp=NOW * 1000),
    "exp is 32 nines": _claims(exp=int("9" * 32)),
    "exp is 1e300": _claims(exp=1e300),
    "exp is in a day and a second": _claims(exp=NOW + 86401),
    "exp is in a day and a second, without iat": _claims(exp=NOW + 86401, iat=None),
    "iat was long ago": _claims(iat=NOW - 86400),
    "iat is 0": _claims(iat=0),
    "iat is in 31 seconds": _claims(iat=NOW + 31),
    "iat is exp": _claims(iat=NOW + 20, exp=NOW + 20),
    "nbf is in 31 seconds": _claims(nbf=NOW + 31),
    "nbf is in 1e300": _claims(nbf=1e300),
}

_CLAIMS: dict[str, Make] = {
    "iss is an array of ours": _claims(iss=[ISS]),
    "iss is an object with ours": _claims(iss={"iss": ISS}),
    "aud is a number": _claims(aud=1),
    "aud is true": _claims(aud=True),
    "aud is an object": _claims(aud={AUDIENCE: 1}),
    "aud has an array": _claims(aud=[[AUDIENCE]]),
    "aud has a number": _claims(aud=[AUDIENCE, 1]),
    "no exp": _claims(exp=None),
    "exp is null": _payload('{"iss":"' + ISS + f'","exp":null,"sub":"api","aud":"{AUDIENCE}"' + "}"),
    "exp is a text": _claims(exp=str(NOW + 300)),
    "exp is true": _claims(exp=True),
    "exp is an array": _claims(exp=[NOW + 300]),
    "iat is a text": _claims(iat=str(NOW)),
    "iat is true": _claims(iat=True),
    "nbf is a text": _claims(nbf=str(NOW)),
    "nbf is false": _claims(nbf=False),
    "no sub": _claims(sub=None),
    "sub is empty": _claims(sub=""),
    "sub is a number": _claims(sub=17),
    "sub is true": _claims(sub=True),
    "sub is an array": _claims(sub=["api"]),
    "sub with a line end": _claims(sub="api\nadmin"),
    "sub with NUL": _claims(sub="api\0"),
    "sub that reads from right to left": _claims(sub="api\u202e"),
    "sub of 2049 characters": _claims(sub="a" * 2049),
    "jti is a number": _claims(jti=1),
    "no pinned claim": _claims(tenant=None),
    "the pinned claim of another tenant": _claims(tenant="t-2"),
    "the pinned claim in another case": _claims(tenant="T-1"),
    "the pinned claim is an array": _claims(tenant=["t-1"]),
    "the pinned claim is a number": _claims(tenant=1),
    "the pinned claim is true": _claims(tenant=True),
}

_X5T = _b64(hashlib.sha256(b"leaf").digest())
_UNBOUND: dict[str, Make] = {
    "cnf is a text": _claims(cnf=_X5T),
    "cnf is an array": _claims(cnf=[{"x5t#S256": _X5T}]),
    "cnf is empty": _claims(cnf={}),
    "cnf is null": _payload('{"cnf":null,$}'),
    "cnf has an unknown member": _claims(cnf={"x5t#S256": _X5T, "osc": {}}),
    "cnf has only a kid": _claims(cnf={"kid": "key-1"}),
    "cnf has a jku": _claims(cnf={"jku": "https://evil.example/jwks", "kid": "1"}),
    "cnf has SHA-1": _claims(cnf={"x5t": _X5T[:27]}),
    "x5t#S256 in hex": _claims(cnf={"x5t#S256": hashlib.sha256(b"leaf").hexdigest()}),
    "x5t#S256 with padding": _claims(cnf={"x5t#S256": _X5T + "="}),
    "x5t#S256 with spare bits": _claims(cnf={"x5t#S256": _spare_bits(_X5T)}),
    "x5t#S256 is empty": _claims(cnf={"x5t#S256": ""}),
    "x5t#S256 is a number": _claims(cnf={"x5t#S256": 1}),
    "x5t#S256 is an array": _claims(cnf={"x5t#S256": [_X5T]}),
    "jkt of SHA-1": _claims(cnf={"jkt": _X5T[:27]}),
    "jwk is a text": _claims(cnf={"jwk": "{}"}),
    "jwk is symmetric": _claims(cnf={"jwk": {"kty": "oct", "k": "AAAA"}}),
    "jwk is encrypted": _claims(cnf={"jwe": "e30.AA.AA.AA.AA"}),
    "jwk and jkt differ": lambda scene: scene.token(
        None, cnf={"jkt": _X5T, "jwk": scene.stranger.keys[-1].jwk()}
    ),
}

_LEFT_ALONE: dict[str, Make] = {
    "an opaque token": lambda _: "ya29.a0AfB_byC-x",
    "an opaque token without a dot": lambda _: "gho_16C7e42F292c6912E7710c838347Ae178B4a",
    "an opaque token of three parts": lambda _: "SG.aaaaaaaa.bbbbbbbb",
    "a number": lambda _: "1",
    "a PASETO": lambda _: "v4.public.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlL3RlbmFudCJ9",
    "a JWE": lambda _: ".".join(
        [_b64({"alg": "RSA-OAEP", "enc": "A256GCM"}), "AAAA", "AAAA", "XFxc", "AAAA"]
    ),
    "JSON in base64": lambda _: _b64({"iss": ISS}),
    "an empty header": _parts(lambda parts: ["", *parts[1:]]),
    "a header that is an array": _header([{"alg": "ES256"}]),
    "a payload that is an array": _payload(b'["iss"]'),
    "an empty payload": _parts(lambda parts: [parts[0], "", parts[2]]),
    "two dots": lambda _: "..",
    "another issuer's": lambda scene: scene.token(iss="https://else.example"),
    "another issuer's, with duplicates": lambda scene: scene.issuer.mint(
        b'{"iss":"https://else.example","a":1,"a":2}'
    ),
    "another issuer's, padded": lambda scene: scene.token(iss="https://else.example") + "==",
    "another issuer's, not signed": lambda scene: scene.issuer.mint(
        {"iss": "https://else.example"}, sign=lambda _: b"", alg="none"
    ),
    "a user's": lambda scene: scene.issuer.mint({"iss": "https://users.example", "sub": "u-1"}, typ="at+jwt"),
    "iss with a slash": _claims(iss=ISS + "/"),
    "iss in upper case": _claims(iss=ISS.upper()),
    "iss with a port": _claims(iss=ISS.replace("example", "example:443")),
    "no iss": _claims(iss=None),
    "iss is null": lambda scene: scene.issuer.mint(b'{"iss":null,"sub":"api"}', sign=lambda _: b"\\" * 64),
    "iss is a number": _claims(iss=1),
    "a SPIFFE ID, and no issuer of JWT-SVIDs": lambda scene: scene.issuer.mint(
        {"iss": None, "sub": "spiffe://prod.example.org/api"}
    ),
}

HOSTILE = [
    HostileToken(name, reason, make)
    for reason, makes in (
        (Reason.TOKEN_MALFORMED, {**_FORM, **_JSON, **_HEADER}),
        (Reason.TOKEN_ALGORITHM, _ALGORITHM),
        (Reason.TOKEN_TYPE, _TYPE),
        (Reason.TOKEN_KEY_UNKNOWN, _KEY),
        (Reason.TOKEN_SIGNATURE, _SIGNATURE),
        (Reason.TOKEN_AUDIENCE, _AUDIENCE),
        (Reason.TOKEN_NOT_IN_DATE, _DATES),
        (Reason.TOKEN_CLAIMS, _CLAIMS),
        (Reason.TOKEN_UNBOUND, _UNBOUND),
        (None, _LEFT_ALONE),
    )
    for name, make in makes.items()
]
"""Tokens that prove nothing."""


def _filled(scene: TokenScene) -> str:
    """Return a good token of just the size that is allowed, or a character or two less."""
    empty = len(scene.token(None, fill=""))
    return scene.token(None, fill="a" * ((16 * 1024 - empty) * 3 // 4))


GOOD: dict[str, Make] = {
    "as it comes": _claims(),
    "signed with RSA": lambda scene: scene.issuer.mint(scene.claims(), key=scene.rsa),
    "typ JWT": _with_header(typ="JWT"),
    "typ jwt": _with_header(typ="jwt"),
    "typ at+jwt": _with_header(typ="at+jwt"),
    "typ application/at+jwt": _with_header(typ="application/at+jwt"),
    "members of the header that say nothing": _with_header(x5t="AAAA", cty="json", jku="https://a.example"),
    "one of several audiences": _claims(aud=["api://orders", AUDIENCE, AUDIENCE]),
    "the other audience": _claims(aud="payments"),
    "exp is a fraction": _claims(exp=NOW + 0.5),
    "exp was 29 seconds ago": _claims(exp=NOW - 29, iat=NOW - 300),
    "exp is in a day": _claims(exp=NOW + 86400),
    "exp is in a day, without iat": _claims(exp=NOW + 86400, iat=None),
    "iat and nbf are in 30 seconds": _claims(iat=NOW + 30, nbf=NOW + 30),
    "nbf was long ago": _claims(nbf=0),
    "other claims": _claims(
        jti="j-1", scope="a b", groups=["a"] * 100, azp="api", typ="Bearer", o={"o": {"a": 1.5}}
    ),
    "a name that is not ASCII": _payload('{"name":"J\\u00f6rg \\ud83d\\ude00","n":"J\u00f6rg",$}'),
    "white space in the JSON": _payload(" {\n$ }\t"),
    "256 objects and arrays": _payload('{"x":[' + ",".join(["{}"] * 254) + "],$}"),
    "2000 commas": _payload('{"x":[' + "1," * 1994 + "1],$}"),
    "32 digits": _payload('{"x":' + "9" * 32 + ',"y":-0.' + "9" * 29 + ",$}"),
    "two claims that look alike": _payload('{"Sub":"admin","ISS":"https://else.example",$}'),
    "sub of 2048 characters": _claims(sub="a" * 2048),
    "bound to a certificate": _claims(cnf={"x5t#S256": _X5T}),
    "bound to a key": _claims(cnf={"jkt": _X5T}),
    "bound to a key that is in it": lambda scene: scene.token(
        None, cnf={"jwk": scene.stranger.keys[-1].jwk()}
    ),
    "bound to both": _claims(cnf={"x5t#S256": _X5T, "jkt": _X5T}),
    "16 KiB": _filled,
}
"""Tokens that are right, by what is special about them."""
