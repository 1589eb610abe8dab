"""Each request of a service that the peer itself talks to: may this peer ask for that?

The middlewares for ASGI, WSGI and aiohttp all ask here, and differ only in how they find the peer and
the path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import TypeAlias

from meshid.admission.admission import Admission
from meshid.admission.question import Question
from meshid.audit.rate_limit import RateLimit, left_out
from meshid.decisions import Decision
from meshid.errors import InvalidPattern, InvalidRequest, PeerRejected
from meshid.mesh import Mesh
from meshid.names.pattern import Pattern
from meshid.policy.file.strings import condition
from meshid.policy.methods import REGISTERED
from meshid.policy.requests import REQUEST_FOLLOWS, Request, read_request
from meshid.policy.rules import ANY_METHOD, HttpCondition
from meshid.reasons import Reason
from meshid.support.logs import INFO, WARNING, log
from meshid.support.quoting import quote
from meshid.support.sieve import Sieve
from meshid.support.types import check_type
from meshid.tokens.authorization import token_in
from meshid.tokens.bearer_token import BearerToken
from meshid.verification.verifier import Peer

LOGGER = logging.getLogger("meshid.http")
"""Gets, when a service starts, the requests that need no peer; and, at a limited rate, a line for each
request that is refused for how it arrived."""

MOST_REMEMBERED = 1024
"""Requests that were allowed, each with its question. What is allowed is asked anew each time."""

LONGEST_REMEMBERED = 512
"""The most characters of the method and the target of one: 2 MB in all."""

_DECODED_LATER = re.compile("%3B|%23|%25")

_EVERY_PATH = Pattern.parse("/*/**")


Judged: TypeAlias = tuple[Decision, Peer | None]
"""The decision about a request; and who asks, with the token of the request if that was judged."""


def judged(admission: Admission, peer: Peer | None, question: Question, authorization: str | None) -> Judged:
    """Decide about a request of a connection, on record: about its token first, if it has one.

    Args:
        admission: Decides.
        peer: The peer of the connection; None if there is none.
        question: What is asked about the peer.
        authorization: The value of ``Authorization``, several as one; None if there is none.

    Raises:
        TypeError, ValueError: If the question does not fit the peer.
    """
    if peer is None:
        return admission.decide((), question), None
    if authorization is not None and (token := token_in(authorization)) is not None:
        try:
            peer = admission.bind(peer, BearerToken(token), question)
        except PeerRejected as rejection:
            return rejection.decision, peer
    return admission.check(peer, question), peer


class RequestJudge:
    """Judges each request of a service.

    Args:
        mesh: Decides.
        target: What peers reach; the mesh's service if None.
        public: The requests that need no peer, as in a policy's http conditions: ``"GET /healthz"``.

    Raises:
        InvalidPattern: If one of *public* is no such condition, or makes every path public.
        TypeError: If an argument has the wrong type.
        ValueError: If there is no target.
    """

    def __init__(self, mesh: Mesh, *, target: str | None = None, public: Iterable[str] = ()) -> None:
        check_type(type(mesh), Mesh, "mesh", "a Mesh")
        self._keep = mesh.keep_encoded
        # Not asked by the mesh, which would make the question anew for each request.
        self._admission = mesh._admission  # noqa: SLF001
        self._target = Question(target=mesh.service if target is None else target).required_target
        self._public = _conditions(public)
        self._methods = REGISTERED | ({each.method for each in self._public} - {ANY_METHOD})
        self._questions: Sieve[tuple[str, str, str | None, bool], Question] = Sieve(MOST_REMEMBERED)
        self._limit = RateLimit()
        if self._public:
            log(LOGGER, INFO, "requests that need no peer: %s", ", ".join(map(str, self._public)))

    def judge(  # noqa: PLR0913  # what there is to say about a request, all named
        self,
        peer: Peer | None,
        method: str,
        target: str,
        *,
        routed: str | None = None,
        authorization: str | None = None,
        is_sent: bool = True,
    ) -> Judged:
        """Decide about a request, on record.

        A public request needs no peer; one that is there must still be allowed to be there, and no token
        of its is judged.

        Args:
            peer: The peer of the connection; None if there is no connection of ours, or if it was ended.
            method: The method, as it was sent.
            target: The path as it was sent, percent-encoded; a query is cut off.
            routed: The path that the application routes, if something else than we decodes it: it must be
                what *target* decodes to, with each "/" that stays encoded as ``%2F``.
            authorization: The value of ``Authorization``, several as one; None if there is none.
            is_sent: Whether *target* is as it was sent. In one that was decoded, and is encoded anew, nobody
                sees any more what was encoded, and nothing stays so.

        Returns:
            The decision; `Reason.NO_CERTIFICATE` without a peer, where one is needed.

        Raises:
            TypeError: If an argument has the wrong type.
        """
        asked = (method, target, routed, is_sent)
        known = self._questions.get(asked)
        if known is not None:
            return judged(self._admission, peer, known, authorization)
        try:
            request = Request(method, target, self._keep if is_sent else ())
        except InvalidRequest:
            # It is refused where it is decided, and so on record.
            return self._decide(peer, self._target, f"{method} {target}"), peer
        if routed is not None and routed != (_as_routed(request.path) if self._keep else request.path):
            why = f"{request} is not the path {quote(routed)}, which the application routes"
            return self.refuse(why), peer
        if self._public and self._is_public(request):
            return self._decide_public(peer, request), peer
        question = Question(target=self._target, request=request)
        decision, bound = judged(self._admission, peer, question, authorization)
        # Only after a yes: whoever is refused chooses what is asked, and would push out what is asked again.
        if decision.allowed and len(method) + len(target) <= LONGEST_REMEMBERED:
            self._questions.put(asked, question)
        return decision, bound

    def _decide(self, peer: Peer | None, target: str, asked: Request | str) -> Decision:
        question = Question(target=target, request=asked)
        return judged(self._admission, peer, question, None)[0]

    def judge_at(
        self, peer: Peer | None, method: str, path: str, target: str, *, is_sent: bool = True
    ) -> Decision:
        """Decide about a request at another target, where nothing is public.

        Args:
            peer: As for `judge`.
            method: As for `judge`.
            path: The path, as *target* for `judge`.
            target: What the peer reaches.
            is_sent: As for `judge`.

        Raises:
            TypeError: As for `judge`.
        """
        return self._decide(peer, target, read_request(f"{method} {path}", self._keep if is_sent else ()))

    def refuse(self, detail: str) -> Decision:
        """Refuse a request for how it arrived: it cannot be judged, and so is no decision on record."""
        reason = Reason.UNSAFE_REQUEST
        self.warn(reason, detail)
        return Decision(allowed=False, reason=reason, target=self._target, detail=detail)

    def warn(self, reason: Reason, detail: str) -> None:
        """Log why requests are refused for what the service does, at a limited rate."""
        suppressed = self._limit.suppressed(reason)
        if suppressed is not None:
            log(LOGGER, WARNING, "refused: %s: %s%s", reason, detail, left_out(suppressed))

    def _is_public(self, request: Request) -> bool:
        # A method that nobody has registered may be run as another one.
        return request.method in self._methods and any(each.matches(request) for each in self._public)

    def _decide_public(self, peer: Peer | None, request: Request) -> Decision:
        if peer is not None:
            decision = self._admission.check(peer, Question(target=self._target, request=REQUEST_FOLLOWS))
            if not decision:
                return decision
        return Decision(
            allowed=True,
            reason=Reason.PUBLIC,
            name=None if peer is None else str(peer.spiffe_id),
            target=self._target,
            request=str(request),
        )


def _as_routed(path: str) -> str:
    """Return what a judged path decodes to, but for each "/" in a segment: that would be another path."""
    return _DECODED_LATER.sub(lambda escape: chr(int(escape[0][1:], 16)), path)


def _conditions(public: Iterable[str]) -> tuple[HttpCondition, ...]:
    if isinstance(public, str) or not isinstance(public, Iterable):
        msg = f"public must be a list such as ['GET /healthz'], not {type(public).__name__}"
        raise TypeError(msg)
    conditions = tuple(map(_condition, public))
    for each in conditions:
        if each.path.contains(_EVERY_PATH):
            msg = f"public: {quote(str(each))} opens every path to everybody; name those that need no peer"
            raise InvalidPattern(msg)
    return conditions


def _condition(text: str) -> HttpCondition:
    check_type(type(text), str, "each of public", "a str such as 'GET /healthz'")
    try:
        return condition(text)
    except InvalidPattern as error:
        msg = f"public: {error}"
        raise InvalidPattern(msg) from error
