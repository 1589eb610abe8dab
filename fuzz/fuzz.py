"""Fuzz each parser: whatever the bytes, it returns, or raises what its documentation says.

    python fuzz/fuzz.py                 all targets, 20 seconds each; FUZZ_SECONDS changes that
    python fuzz/fuzz.py bundle_json     one target, until it is stopped; libFuzzer's options may follow

What is found interesting is kept in build/fuzz/TARGET, and is where the next run starts. An
input that fails is written to build/fuzz/crash-..., and the run ends with status 1. Memory
and time for each input are bounded, too: 512 MB and 2 seconds.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from pathlib import Path

import atheris

# It tells of each module.
with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=["meshid"]):
    from seeds import PROXIES, TOKEN_CLAIMS, TOKEN_ISSUER, seeds

    from meshid import (
        BundleSet,
        ChainVerifier,
        MeshidError,
        PeerRejected,
        Policy,
        SpiffeId,
        TrustBundle,
        X509Svid,
    )
    from meshid.certificates.distinguished_name import read_name
    from meshid.certificates.reading import read_certificate
    from meshid.cli.nginx.nginx_configuration import read_configuration
    from meshid.cli.nginx.nginx_traps import traps_in
    from meshid.errors import Refused
    from meshid.http import Forwarded
    from meshid.http.xfcc import read_xfcc
    from meshid.istio import import_istio
    from meshid.names.peer_pattern import PeerPattern
    from meshid.policy.issuers import Issuer, IssuerProfile, Pin
    from meshid.policy.requests import Request
    from meshid.testing import CA
    from meshid.tls.peer_chain import read_certificate_message
    from meshid.tokens.binding import bind
    from meshid.tokens.key_set import KeySet, KeySets
    from meshid.tokens.token_verifier import TokenVerifier
    from meshid.trust.crl import read_list_file
    from meshid.trust.deny_list_document import read_deny_list

DOMAIN = "prod.example.org"
FOUND = Path("build", "fuzz")
VERIFIER = ChainVerifier(BundleSet([CA(DOMAIN).bundle()]))


def chain_of(data: bytes) -> list[bytes]:
    """Return certificates that are written one after the other, each with three bytes of length before it."""
    chain = []
    while data:
        end = 3 + int.from_bytes(data[:3], "big")
        chain.append(data[3:end])
        data = data[end:]
    return chain


FORWARDED = [Forwarded(proxy) for proxy in PROXIES]


def forwarded_chain(data: bytes) -> object:
    """Read lines of a name and a value each, for the proxy that the first byte chooses."""
    lines = (line.partition(b": ") for line in data[1:].split(b"\n"))
    return FORWARDED[data[0] % len(FORWARDED)].chain([(name, value) for name, _, value in lines])


TOKEN_VERIFIER = TokenVerifier(
    [
        Issuer(
            name="acme",
            profile=IssuerProfile.OIDC,
            issuer=TOKEN_ISSUER.issuer,
            audience=("payments",),
            principal="sub",
            pins=(Pin("tenant", "t-1"),),
        )
    ],
    KeySets([KeySet.from_json("acme", TOKEN_ISSUER.jwks())]),
    BundleSet(),
)


def bound_token(token: str) -> None:
    """Verify a token, and bind it to a certificate."""
    verified = TOKEN_VERIFIER.verify(token, 1_800_000_000)
    if verified is not None:
        bind(verified, b"leaf")


def text(data: bytes) -> str:
    """Return any text; its characters are as many as the bytes."""
    return data.decode("utf-8", "surrogateescape")


TARGETS: dict[str, tuple[Callable[[bytes], object], tuple[type[Exception], ...]]] = {
    "certificate": (read_certificate, (ValueError,)),
    "certificate_message": (lambda data: read_certificate_message(data[1:], tls13=data[:1] > b"\x7f"), ()),
    "chain": (lambda data: VERIFIER.verify(chain_of(data)), (PeerRejected,)),
    "bundle_pem": (lambda data: TrustBundle.from_pem(DOMAIN, data), (MeshidError,)),
    "bundle_json": (lambda data: TrustBundle.from_spiffe_json(DOMAIN, data), (MeshidError,)),
    "key_set": (lambda data: KeySet.from_json("fuzz", data), (MeshidError,)),
    "credentials": (X509Svid.from_pem, (MeshidError,)),
    "revocation_list": (lambda data: read_list_file("fuzz", data), ()),
    "deny_list": (read_deny_list, (MeshidError,)),
    "nginx": (lambda data: traps_in(read_configuration(text(data))), (MeshidError,)),
    "policy_toml": (lambda data: Policy.from_toml(data, environment="prod"), (MeshidError,)),
    "policy_json": (lambda data: Policy.from_json(data, environment="prod"), (MeshidError,)),
    "istio": (
        lambda data: import_istio([("fuzz", data)], environment="prod", trust_domains=[DOMAIN]),
        (MeshidError,),
    ),
    "spiffe_id": (lambda data: SpiffeId.parse(text(data)), (MeshidError,)),
    "peer_pattern": (lambda data: PeerPattern.parse(text(data)), (MeshidError,)),
    "request": (lambda data: Request.parse(text(data)), (MeshidError,)),
    "forwarded": (lambda data: forwarded_chain(data or b"\0"), (MeshidError,)),
    "xfcc": (read_xfcc, (ValueError,)),
    "token": (lambda data: bound_token(text(data)), (Refused,)),
    # These two are signed, so that what comes after the signature is reached.
    "token_header": (lambda data: bound_token(TOKEN_ISSUER.mint(TOKEN_CLAIMS, raw_header=data)), (Refused,)),
    "token_claims": (lambda data: bound_token(TOKEN_ISSUER.mint(data)), (Refused,)),
    "distinguished_name": (lambda data: read_name(text(data)), (ValueError,)),
}
"""For each parser how it is called, and what it may raise."""


def main(arguments: list[str]) -> int:
    """Fuzz one target, or all of them."""
    if arguments and arguments[0] in TARGETS:
        return _fuzz(*arguments)
    if arguments:
        print(f"{arguments[0]} is none of: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    seconds = os.environ.get("FUZZ_SECONDS", "20")
    failed = [name for name in TARGETS if _run(name, f"-max_total_time={seconds}")]
    print(f"failed: {', '.join(failed)}" if failed else f"{len(TARGETS)} parsers held for {seconds} s each")
    return 1 if failed else 0


def _run(name: str, *options: str) -> int:
    # libFuzzer ends the process when it is done, and is talkative until then.
    command = [sys.executable, __file__, name, "-print_final_stats=1", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  # ourselves
    count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    print(f"-- fuzz {name}: {count[1] if count else 'no count of'} inputs", flush=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-4000:], sep="\n", flush=True)
    return done.returncode


def _fuzz(name: str, *options: str) -> int:
    corpus = FOUND / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()[name]):
        corpus.joinpath(f"seed-{number}").write_bytes(seed)
    parse, expected = TARGETS[name]

    def once(data: bytes) -> None:
        with suppress(*expected):
            parse(data)

    limits = ["-max_len=8192", "-timeout=2", "-rss_limit_mb=512", f"-artifact_prefix={FOUND}/"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *options], once)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
