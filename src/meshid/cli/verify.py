"""`meshid verify`: the decision that a server with these bundles and this policy would make about a chain."""

from __future__ import annotations

import argparse
import json
import sys

from meshid.certificates.leaf import Profile, Role
from meshid.cli.inputs import read_bundle, read_chain, read_policy, read_revocations, target_named
from meshid.cli.no_answer import NoAnswer
from meshid.cli.terminal import clean, paint_for_stdout
from meshid.cli.verdict import Verdict, judged_peer, lines_of, refused_chain, verified_peer
from meshid.errors import InvalidSpiffeId, PeerRejected
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy
from meshid.support.quoting import quote
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.verification.verifier import ChainVerifier


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("chain", metavar="CHAIN", help="PEM certificates, leaf first, or one DER certificate")
    add(
        *("--bundle", "-b"),
        metavar="TRUST_DOMAIN=FILE",
        type=for_trust_domain,
        action="append",
        required=True,
        help="the authorities of a trust domain, as PEM or SPIFFE JSON; may be repeated",
    )
    add(
        "--profile",
        metavar="TRUST_DOMAIN=PROFILE",
        type=_profile,
        action="append",
        default=[],
        help=f"how a bundle's authorities write names: {', '.join(Profile)}; spiffe by default",
    )
    add("--crl", metavar="FILE", action="append", default=[], help="a revocation list, PEM or DER")
    add(
        "--deny",
        metavar="ENTRY",
        action="append",
        default=[],
        help="refuse this: a SPIFFE ID, a pattern of them, or the SHA-256 of a certificate",
    )
    add("--role", choices=list(map(str, Role)), default="client", help="what the peer is; client by default")
    add("--json", action="store_true", help="print the same as one JSON object")
    _add_policy_arguments(parser)


def _add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("policy", "without one, the chain is only verified")
    group.add_argument("--policy", metavar="FILE", help="a policy file, TOML or JSON")
    group.add_argument("--environment", metavar="NAME", help="the environment to load it for")
    group.add_argument("--target", metavar="NAME", type=target_named, help="what the peer wants to reach")
    group.add_argument("--request", metavar="'METHOD /PATH'", help="the request; without it, a handshake")


def run(arguments: argparse.Namespace) -> int:
    """Read the files, judge the chain, print the verdict, and return the exit status.

    Raises:
        NoAnswer: If the arguments do not go together, or a file cannot be used.
        InvalidInput: If the bundles do not go together, or a deny entry is not valid.
    """
    _check_together(arguments)
    chain = read_chain(arguments.chain)
    verifier = ChainVerifier(_bundles(arguments), revocations=read_revocations(arguments.crl, arguments.deny))
    policy = read_policy(arguments.policy, arguments.environment) if arguments.policy else None
    verdict = _judge(chain, verifier, policy, arguments)
    if arguments.json:
        print(json.dumps(verdict, indent=2))
    else:
        print(*lines_of(verdict, paint_for_stdout()), sep="\n")
    return 1 if verdict["verdict"] == "refused" else 0


def _judge(
    chain: tuple[bytes, ...], verifier: ChainVerifier, policy: Policy | None, asked: argparse.Namespace
) -> Verdict:
    try:
        peer = verifier.verify(chain, role=asked.role)
    except PeerRejected as rejection:
        return refused_chain(rejection.decision)
    if policy is None:
        return verified_peer(peer)
    return judged_peer(peer, policy.explain(peer, asked.target, asked.request))


def _check_together(arguments: argparse.Namespace) -> None:
    asks = {"--environment": arguments.environment, "--target": arguments.target}
    if arguments.policy is None:
        if given := [option for option, value in {**asks, "--request": arguments.request}.items() if value]:
            msg = f"{' and '.join(given)}: only for a policy, and there is none; add --policy FILE"
            raise NoAnswer(msg)
        return
    if missing := [option for option, value in asks.items() if not value]:
        msg = f"a policy is for one environment and asked about one target; add {' and '.join(missing)}"
        raise NoAnswer(msg)
    if arguments.role != Role.CLIENT:
        msg = "a policy decides about peers that are clients; leave out --policy or --role server"
        raise NoAnswer(msg)


def _bundles(arguments: argparse.Namespace) -> BundleSet:
    profiles = dict(arguments.profile)
    if unused := profiles.keys() - {trust_domain for trust_domain, _ in arguments.bundle}:
        msg = f"--profile names {', '.join(sorted(map(str, unused)))}, for which there is no --bundle"
        raise NoAnswer(msg)
    bundles = []
    for trust_domain, path in arguments.bundle:
        bundle = read_bundle(trust_domain, path, profiles.get(trust_domain, Profile.SPIFFE))
        _warn_of_skipped(bundle, path)
        bundles.append(bundle)
    return BundleSet(bundles)


def _warn_of_skipped(bundle: TrustBundle, path: str) -> None:
    for problem in bundle.skipped:
        print(clean(f"meshid: warning: {quote(path)}: skipped {problem}"), file=sys.stderr)


def for_trust_domain(text: str) -> tuple[TrustDomain, str]:
    """Read the argument ``TRUST_DOMAIN=...``.

    Raises:
        argparse.ArgumentTypeError: If it is anything else.
    """
    name, equals, value = text.partition("=")
    if not equals or not value:
        msg = f"{quote(text)} must be TRUST_DOMAIN=..., such as prod.example.org=roots.pem"
        raise argparse.ArgumentTypeError(msg)
    try:
        return TrustDomain.parse(name), value
    except InvalidSpiffeId as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _profile(text: str) -> tuple[TrustDomain, str]:
    trust_domain, profile = for_trust_domain(text)
    if profile not in set(Profile):
        msg = f"profile {quote(profile)} is unknown; write one of: {', '.join(Profile)}"
        raise argparse.ArgumentTypeError(msg)
    return trust_domain, profile
