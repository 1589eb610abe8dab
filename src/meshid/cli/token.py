"""`meshid token`: what a service with this policy would make of a token, and whom it names."""

from __future__ import annotations

import argparse
import json
import re
import time
from datetime import UTC, datetime

from meshid.certificates.leaf import read_claim
from meshid.certificates.reading import read_leaf
from meshid.cli.inputs import read_bundle, read_chain, read_policies, read_some
from meshid.cli.no_answer import STDIN, NoAnswer, errors_named
from meshid.cli.policy.options import add_environment, add_json
from meshid.cli.policy.output import NO, YES
from meshid.cli.terminal import paint_for_stdout
from meshid.cli.verdict import Verdict, lines_of
from meshid.cli.verify import for_trust_domain
from meshid.errors import InvalidInput, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import Policy
from meshid.policy.issuers import IssuerProfile
from meshid.policy.named_peers import PeerNames
from meshid.reasons import Reason
from meshid.sources.alarms import Failure
from meshid.sources.token_keys.issuer_readers import IssuerReader
from meshid.support.quoting import escaped, quote, quote_all
from meshid.tokens.binding import bind
from meshid.tokens.compact_jws import read_compact
from meshid.tokens.key_set import KeySet, KeySets
from meshid.tokens.keys_in_force import KeysWanted
from meshid.tokens.token_verifier import TokenVerifier, VerifiedToken
from meshid.trust.bundles import BundleSet

# What is copied along with a token, from a request or from JSON.
_AROUND_TOKEN = re.compile(r"^(?:authorization: *)?bearer +|^\"|\"$", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    # Never the token itself: everybody on the machine can read the arguments of a process.
    add("token", metavar="FILE", nargs="?", default=STDIN, help="the token; default: standard input")
    add("--policy", metavar="FILE", required=True, help="a policy file, TOML or JSON")
    add_environment(parser)
    add(
        "--keys",
        metavar="ISSUER=FILE",
        type=_keys_of,
        action="append",
        default=[],
        help="the keys of an issuer, as JWKS; may be repeated; default: read where the policy says",
    )
    add(
        "--bundle",
        metavar="TRUST_DOMAIN=FILE",
        type=for_trust_domain,
        action="append",
        default=[],
        help="a trust bundle with keys for JWT-SVIDs, as SPIFFE JSON; may be repeated",
    )
    add(
        "--certificate",
        metavar="FILE",
        help="the certificate that it comes with, PEM or DER; without it, only the token is judged",
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judge the token, print the verdict, and return the exit status.

    Raises:
        NoAnswer: If a file cannot be used, or the keys of the issuer cannot be read.
        InvalidInput: If the keys or bundles do not go together.
        MissingExtra: If PyJWT is not installed.
    """
    policies = read_policies(arguments.policy)
    policy = next((each for each in policies if each.environment.name == arguments.environment), None)
    if policy is None:
        names = quote_all([each.environment.name for each in policies])
        msg = f"{quote(arguments.policy)} has no environment {quote(arguments.environment)}; it has {names}"
        raise NoAnswer(msg)
    judge = _Judge(policy, arguments)
    text = _token(arguments.token)
    try:
        verified = judge.verified(text)
        verdict = _nobodys(text, policy, policies) if verified is None else judge.verdict_on(verified)
    except Refused as refusal:
        verdict = {**refusal.decision().as_dict()}
    if arguments.json:
        print(json.dumps(verdict, indent=2))
    else:
        print(*lines_of(verdict, paint_for_stdout()), sep="\n")
    return YES if verdict["verdict"] == "verified" else NO


class _Judge:
    """What a service would have in force."""

    def __init__(self, policy: Policy, arguments: argparse.Namespace) -> None:
        self._policy = policy
        self._names = PeerNames(policy.peers, policy.environment.trust_domains, policy.issuers)
        self._keys = [_key_set(policy, *each) for each in arguments.keys]
        self._bundles = BundleSet(read_bundle(domain, path, "spiffe") for domain, path in arguments.bundle)
        self._leaf = None if arguments.certificate is None else read_chain(arguments.certificate)[0]

    def verified(self, text: str) -> VerifiedToken | None:
        """Verify the token; read the keys of its issuer if they were not given."""
        try:
            return self._verifier().verify(text, time.time())
        except KeysWanted as wanted:
            issuer = next(each for each in self._policy.issuers if each.name == wanted.issuer)
            is_given = any(each.issuer == issuer.name for each in self._keys)
            if is_given or issuer.profile is IssuerProfile.JWT_SVID:
                raise
        read = IssuerReader(issuer, time.time).read()
        if isinstance(read, Failure):
            msg = f"{read.about}: {read.text}; or give them: --keys {issuer.name}=FILE"
            raise NoAnswer(msg)
        self._keys += read.keys
        return self._verifier().verify(text, time.time())

    def verdict_on(self, token: VerifiedToken) -> Verdict:
        """Return whom it names, and what it is bound to."""
        peer = self._names.of_token(token.issuer.name, token.principal)
        if self._leaf is not None:
            peer = self._policy.agree(_spiffe_id(self._leaf), bind(token, self._leaf))
        elif peer is None and token.issuer.profile is not IssuerProfile.JWT_SVID:
            msg = f"no peer has the name {quote(token.principal)} of issuer {quote(token.issuer.name)}"
            raise Refused(Reason.TOKEN_DISAGREES, msg)
        bound = token.confirmation
        facts: Verdict = {
            "verdict": "verified",
            "peer": "" if peer is None else f"@{peer.name}",
            "spiffe": [] if peer is None else list(map(str, peer.spiffe)),
            "issuer": token.issuer.name,
            "principal": escaped(token.principal),
            "bound_to": "nothing" if bound is None else _bound_to(bound.certificate, bound.key),
            "certificate": "not given" if self._leaf is None else "agrees",
            "expires": datetime.fromtimestamp(token.expires_at, UTC).isoformat(sep=" "),
            "key_id": escaped(token.key_id or ""),
            "token_id": escaped(token.token_id or ""),
        }
        return {name: fact for name, fact in facts.items() if fact}

    def _verifier(self) -> TokenVerifier:
        policy = self._policy
        return TokenVerifier(
            policy.issuers,
            KeySets(self._keys),
            self._bundles,
            trust_domains=policy.environment.trust_domains,
        )


def _nobodys(text: str, policy: Policy, policies: list[Policy]) -> Verdict:
    """Return the verdict on a token that no issuer of the environment issues."""
    try:
        claims = read_compact(text).claims
    # It may be of a kind that only its application can read.
    except Refused:
        claims = {}
    issuer, subject = claims.get("iss"), claims.get("sub")
    elsewhere = [
        f"{each.name} of environment {other.environment.name}"
        for other in policies
        for each in other.issuers
        if each.issuer == issuer is not None
    ]
    facts: Verdict = {
        "verdict": "not judged",
        "detail": "no issuer of this environment issues it: it is left to the application, and gives nothing",
        "iss": escaped(issuer) if isinstance(issuer, str) else "none",
        "sub": escaped(subject) if isinstance(subject, str) else "none",
        "issuer": elsewhere,
        # They are compared byte for byte: side by side, a slash at the end shows.
        "judged": [each.issuer for each in policy.issuers if each.issuer is not None],
    }
    return {name: fact for name, fact in facts.items() if fact}


def _token(path: str) -> str:
    text = read_some(path).decode("ascii", "replace").strip()
    return _AROUND_TOKEN.sub("", text)


def _keys_of(text: str) -> tuple[str, str]:
    issuer, equals, path = text.partition("=")
    if not issuer or not equals or not path:
        msg = f"{quote(text)} must be ISSUER=FILE, such as okta=jwks.json"
        raise argparse.ArgumentTypeError(msg)
    return issuer, path


def _key_set(policy: Policy, name: str, path: str) -> KeySet:
    issuer = next((each for each in policy.issuers if each.name == name), None)
    if issuer is None:
        names = quote_all([each.name for each in policy.issuers]) or "none"
        msg = f"--keys: there is no issuer {quote(name)} in this environment; it has {names}"
        raise NoAnswer(msg)
    with errors_named(path):
        return KeySet.from_json(name, read_some(path), pinned=issuer.pinned_keys)


def _spiffe_id(leaf: bytes) -> SpiffeId:
    """Return the name that a certificate claims, which is not verified here."""
    try:
        return SpiffeId.parse(read_claim(read_leaf(leaf), ()).name)
    except ValueError as error:
        msg = f"--certificate: it cannot be read: {quote(str(error))}"
        raise InvalidInput(msg) from error


def _bound_to(certificate: str | None, key: str | None) -> str:
    bound = {"certificate": certificate, "key": key}
    return ", ".join(f"{what} {thumbprint}" for what, thumbprint in bound.items() if thumbprint)
