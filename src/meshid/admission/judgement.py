"""The decision about one peer, under one snapshot; it records nothing.

A token adds to a chain that was verified, and never stands in for one: the chain is verified first, each
time. What refuses the token refuses the peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import attrs

from meshid.admission.bound_peers import RefusedToken
from meshid.admission.expected import expected
from meshid.admission.question import Question
from meshid.admission.settled import Aside
from meshid.admission.snapshot import Snapshot
from meshid.decisions import Call, Decision
from meshid.errors import InvalidRequest, PeerRejected, Refused
from meshid.policy.evidence import TokenEvidence
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike, without_query
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.tokens.bearer_token import BearerToken
from meshid.tokens.keys_in_force import KeysWanted
from meshid.verification.verifier import Peer, with_token

Shown: TypeAlias = BearerToken | Peer | None
"""What was shown beside a chain: a token; or a bound peer, whose token is looked at again."""


# No class: it is made for each request, and thrown away at once.
Judgement: TypeAlias = tuple[Peer | None, Decision, Aside | None]
"""The peer, bound if a token counts, or None if its chain is refused; the decision; and what else is done."""

_BOUND = Decision(allowed=True, reason=Reason.ALLOWED)
"""Of a token that was bound: nobody sees it, for it decides nothing about what the peer may reach."""


def judge(  # noqa: PLR0913, PLR0917  # all there is to a decision
    call: Call, chain: Sequence[bytes], shown: Shown, question: Question, snapshot: Snapshot, now: float
) -> Judgement:
    """Decide whether a peer may be there.

    Args:
        call: Who asks: the grace of a leaf is only for connections that are open.
        chain: DER certificates, leaf first.
        shown: What was shown beside it.
        question: What is asked.
        snapshot: What it is decided under.
        now: The POSIX time in seconds.
    """
    verifier = snapshot.verifier if call is Call.ADMIT else snapshot.open_verifier
    try:
        peer = verifier.verify(chain, role=question.role, now=now)
    except PeerRejected as rejection:
        return None, _about(rejection.decision, question, snapshot), None
    if question.expect is not None:
        return peer, expected(peer, question.expect, snapshot), None
    if shown is not None or snapshot.requires_tokens:
        try:
            peer = _proven(peer, shown, question, snapshot, now)
        except Refused as refusal:
            return _refused(peer, refusal, question, snapshot)
    if snapshot.policy is None:
        decision = Decision(allowed=False, reason=Reason.NO_POLICY, name=str(peer.spiffe_id))
        return peer, _about(decision, question, snapshot), None
    decision = snapshot.policy.decide(peer, question.required_target, question.request, now=now)
    return peer, decision, None


def judge_token(
    peer: Peer, token: BearerToken, question: Question | None, snapshot: Snapshot, now: float
) -> Judgement:
    """Decide whether a token counts for a peer.

    Args:
        peer: The peer, as it was admitted.
        token: The token.
        question: What will be asked about the peer, for the record.
        snapshot: What it is decided under.
        now: The POSIX time in seconds.

    Returns:
        The peer as it was given, if the token is not of a configured issuer.
    """
    try:
        current = snapshot.open_verifier.verify(peer.chain, role=peer.role, now=now)
    except PeerRejected as rejection:
        return None, _about(rejection.decision, question, snapshot), None
    try:
        return _bound(current, token, snapshot, now) or peer, _BOUND, None
    except Refused as refusal:
        return _refused(current, refusal, question, snapshot)


def _proven(peer: Peer, shown: Shown, question: Question, snapshot: Snapshot, now: float) -> Peer:
    """Return a peer with what was shown, and check that it is all that is required."""
    if isinstance(shown, BearerToken):
        return _bound(peer, shown, snapshot, now) or peer
    if shown is not None:
        evidence = cast("TokenEvidence", shown.token)
        try:
            snapshot.bound_peers.check_current(evidence, snapshot.revocations, now)
        except KeysWanted:
            raise
        except Refused as refusal:
            raise RefusedToken(refusal, evidence) from None
        # The same tuple: it is the same verification that both come from.
        return shown if shown.chain is peer.chain else with_token(peer, evidence)
    if question.request is None or question.request is REQUEST_FOLLOWS:
        return peer
    raise Refused(Reason.NO_TOKEN, "")


def _bound(peer: Peer, token: BearerToken, snapshot: Snapshot, now: float) -> Peer | None:
    """Return a peer with what a token adds; None if the token is left to the application."""
    try:
        bound = snapshot.bound_peers.bind(peer, token, snapshot, now)
    except Refused:
        raise
    # What failed knows the token, and its text may have a part of it.
    except Exception as error:  # noqa: BLE001
        raise Refused(Reason.INTERNAL_ERROR, f"{type(error).__name__}, while a token was judged") from None
    if bound is None and snapshot.requires_tokens:
        raise Refused(Reason.TOKEN_ISSUER_UNKNOWN, "tokens of other issuers are refused here, too")
    return bound


def _refused(peer: Peer, refusal: Refused, question: Question | None, snapshot: Snapshot) -> Judgement:
    decision = _about(refusal.decision(str(peer.spiffe_id)), question, snapshot)
    if question is not None:
        decision = attrs.evolve(decision, request=_text_of(question.request))
    aside = Aside(
        wants_keys_of=refusal.issuer if isinstance(refusal, KeysWanted) else None,
        token=refusal.evidence if isinstance(refusal, RefusedToken) else None,
    )
    return peer, decision, aside


def _about(decision: Decision, question: Question | None, snapshot: Snapshot) -> Decision:
    """Return a decision that no policy made, with the target and the policy in force."""
    target = None if question is None else question.target
    return attrs.evolve(
        decision, target=target, policy_hash=snapshot.policy.hash if snapshot.policy else None
    )


def _text_of(request: RequestLike) -> str | None:
    if not isinstance(request, (Request, str)):
        return None
    try:
        return str(request if isinstance(request, Request) else Request.parse(request))
    except InvalidRequest:
        return quote(without_query(str(request)))
