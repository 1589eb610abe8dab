"""`meshid policy explain`: why a peer may reach a target or may not; or which rules are about a target."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

import attrs

from meshid.cli.inputs import read_policy, target_named
from meshid.cli.no_answer import NoAnswer
from meshid.cli.policy.access import TargetAccess
from meshid.cli.policy.options import add_environment, add_file, add_json, add_now
from meshid.cli.policy.output import NO, YES, answer, painted
from meshid.cli.terminal import Colour, paint_for_stdout
from meshid.errors import InvalidSpiffeId
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import REQUEST_FOLLOWS, Policy, Request
from meshid.policy.evidence import TokenName
from meshid.policy.requests import KEEPABLE, read_request
from meshid.support.quoting import quote


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environment(parser)
    add = parser.add_argument
    add(
        "--peer",
        metavar="SPIFFE_ID",
        type=_spiffe_id,
        help="the peer; without it, the rules about the target are shown",
    )
    add("--target", metavar="NAME", type=target_named, required=True, help="what the peer wants to reach")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--request", metavar="'METHOD /PATH'", help="the request; without it, a handshake")
    asked.add_argument(
        "--requests-follow",
        action="store_true",
        help="the handshake of a listener that asks about each request (http=True)",
    )
    add(
        "--keep-encoded",
        metavar="ESCAPE",
        action="append",
        choices=KEEPABLE,
        default=[],
        help="what stays encoded in the path, as the setting says: %%2F, %%3B, %%23 or %%25; may be repeated",
    )
    add(
        "--token",
        metavar="ISSUER=PRINCIPAL",
        type=_token,
        help="a token that the peer shows: an issuer by its name in the policy, and whom it names",
    )
    add("--bound", action="store_true", help="the token is bound to the peer's certificate")
    add_now(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Ask the policy, and print its answer.

    Raises:
        NoAnswer: If the policy cannot be loaded; or what is said of a peer, or of a token, has none.
        InvalidRequest: If there is a request but no peer, and every policy would refuse it.
    """
    if arguments.bound and arguments.token is None:
        msg = "--bound says something of a token; add --token ISSUER=PRINCIPAL"
        raise NoAnswer(msg)
    if arguments.token is not None and arguments.peer is None:
        msg = "a token never stands alone; add --peer SPIFFE_ID, the name in the certificate"
        raise NoAnswer(msg)
    if arguments.requests_follow and arguments.peer is None:
        msg = "--requests-follow says something of a peer's handshake; add --peer SPIFFE_ID"
        raise NoAnswer(msg)
    policy = read_policy(arguments.file, arguments.environment)
    return _access(policy, arguments) if arguments.peer is None else _explanation(policy, arguments)


def _explanation(policy: Policy, arguments: Namespace) -> int:
    token = arguments.token and attrs.evolve(arguments.token, is_bound=arguments.bound)
    asked = arguments.request and read_request(arguments.request, arguments.keep_encoded)
    request = REQUEST_FOLLOWS if arguments.requests_follow else asked
    explanation = policy.explain(arguments.peer, arguments.target, request, token=token, now=arguments.now)
    allowed = explanation.decision.allowed
    colour = Colour.GOOD if allowed else Colour.BAD
    answer(arguments, explanation.as_dict(), painted(str(explanation), colour, paint_for_stdout()))
    return YES if allowed else NO


def _access(policy: Policy, arguments: Namespace) -> int:
    request = arguments.request and Request.parse(arguments.request, arguments.keep_encoded)
    now = time.time() if arguments.now is None else arguments.now
    access = TargetAccess(policy, arguments.target, request, now)
    answer(arguments, access.as_dict(), access.lines(paint_for_stdout()))
    return YES if access.possible else NO


def _token(text: str) -> TokenName:
    issuer, _, principal = text.partition("=")
    if not (issuer and principal):
        msg = f"{quote(text)} is not ISSUER=PRINCIPAL, such as aws=arn:aws:iam::111122223333:role/api"
        raise ArgumentTypeError(msg)
    return TokenName(issuer, principal)


def _spiffe_id(text: str) -> SpiffeId:
    try:
        return SpiffeId.parse(text)
    except InvalidSpiffeId as error:
        msg = f"{error}; write the whole SPIFFE ID of the peer, such as spiffe://prod.example.org/ns/checkout/sa/api"
        raise ArgumentTypeError(msg) from error
