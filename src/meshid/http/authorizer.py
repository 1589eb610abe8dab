"""The authorizer: a proxy that has ended TLS asks it about each request, before it passes the request on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from http import HTTPStatus
from typing import TypeAlias

from meshid.admission.question import Question
from meshid.audit.rate_limit import RateLimit, left_out
from meshid.decisions import Decision
from meshid.errors import InvalidForwarded
from meshid.http.asgi import App, Pairs, Receive, Scope, Send, is_http
from meshid.http.forwarded import Forwarded
from meshid.http.requested import Asked, Requested, requested_by, text_of
from meshid.mesh import Mesh
from meshid.policy.requests import Request, read_request
from meshid.reasons import Reason
from meshid.support.logs import ERROR, WARNING, log
from meshid.support.quoting import described
from meshid.support.sieve import Sieve
from meshid.tokens.authorization import authorization_in, challenge_for, token_in

LOGGER = logging.getLogger("meshid.http")
"""Gets a line, at a limited rate, for each question that cannot be read, and so is no decision on a peer."""

MOST_REMEMBERED = 1024
"""Requests that were allowed, and chains that were admitted, each."""

LONGEST_REQUEST = 512
"""The most bytes of a request that is remembered: 2 MB in all."""

LONGEST_HEADERS = 8192
"""The most bytes of the headers of a chain that is remembered: 16 MB in all, with the chains."""

Judge: TypeAlias = Callable[[Pairs, Request | str], Decision]
"""Decides about the peer that headers tell of, and its request; a request as text is not checked yet.

Raises `InvalidForwarded`, which names the header, if the headers do not tell of a peer as they should.
"""

_COMMON: Pairs = (
    # nginx keeps answers of an authorizer where it is told to, and then one peer gets that of another.
    (b"cache-control", b"no-store"),
    # A proxy may pass the body of a refusal on to the client, which is a stranger.
    (b"content-length", b"0"),
)


class AuthorizerApp:
    """Answers each question of a proxy with 200, 401 or 403 (ASGI 3.0).

    Args:
        requested: Finds the request that is asked about.
        judge: Decides about it.
        keep_encoded: As for `Mesh`.
    """

    def __init__(self, requested: Requested, judge: Judge, keep_encoded: Collection[str] = ()) -> None:
        self._requested = requested
        self._judge = judge
        self._keep = keep_encoded
        self._requests: Sieve[Asked, Request] = Sieve(MOST_REMEMBERED)
        self._limit = RateLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question."""
        # A request first: to ask about the scope is a coroutine of its own.
        if scope["type"] != "http" and not await is_http(scope, receive, send):
            return
        status, headers = self._answer(scope)
        await send({"type": "http.response.start", "status": status, "headers": [*_COMMON, *headers]})
        await send({"type": "http.response.body", "body": b""})

    def _answer(self, scope: Scope) -> tuple[int, Pairs]:
        decision: Decision | None
        try:
            decision = self._decision(scope)
        # A failure of ours: what we know of it goes to our log, and to nobody else.
        except Exception as error:  # noqa: BLE001
            decision = self._unread(Reason.INTERNAL_ERROR, described(error), error)
        if decision is None:
            return HTTPStatus.NOT_FOUND, ()
        if decision.allowed:
            return HTTPStatus.OK, _about(decision)
        headers = [(b"x-meshid-reason", decision.reason.encode())]
        if (challenge := challenge_for(decision.reason)) is not None:
            headers.append((b"www-authenticate", challenge.encode()))
            return HTTPStatus.UNAUTHORIZED, headers
        # Never 400: nginx makes it a 500, and strangers must not be able to set off an alarm.
        is_unknown = decision.reason is Reason.NO_CERTIFICATE
        return HTTPStatus.UNAUTHORIZED if is_unknown else HTTPStatus.FORBIDDEN, headers

    def _decision(self, scope: Scope) -> Decision | None:
        try:
            asked = self._requested(scope)
            if asked is None:
                return None
            known = self._requests.get(asked)
            request = known or read_request(" ".join(text_of(asked)), self._keep)
        except InvalidForwarded as error:
            return self._unread(Reason.UNSAFE_REQUEST, str(error))
        try:
            decision = self._judge(scope["headers"], request)
        except InvalidForwarded as error:
            return self._unread(Reason.MALFORMED, str(error))
        # Only after a yes: whoever is refused chooses what is asked, and would push out what is asked again.
        is_new = known is None and sum(map(len, asked)) <= LONGEST_REQUEST
        if decision.allowed and is_new and isinstance(request, Request):
            self._requests.put(asked, request)
        return decision

    def _unread(self, reason: Reason, text: str, error: Exception | None = None) -> Decision:
        suppressed = self._limit.suppressed(reason)
        if suppressed is not None:
            level = WARNING if error is None else ERROR
            log(LOGGER, level, "refused: %s: %s%s", reason, text, left_out(suppressed), error=error)
        return Decision(allowed=False, reason=reason, detail=text)


class _ForwardedJudge:
    """Decides about the peer whose chain a proxy has written into headers."""

    def __init__(self, mesh: Mesh, forwarded: Forwarded, target: str | None) -> None:
        self._mesh = mesh
        self._forwarded = forwarded
        self._target = target
        self._chains: Sieve[tuple[bytes, ...], tuple[bytes, ...]] = Sieve(MOST_REMEMBERED)

    def __call__(self, headers: Pairs, request: Request | str) -> Decision:
        values = self._forwarded.values(headers)
        known = self._chains.get(values)
        chain = known or self._forwarded.chain_of(values)
        token = token_in(authorization_in(headers))
        decision = self._mesh.decide(chain, target=self._target, request=request, token=token)
        if decision.allowed and known is None and sum(map(len, values)) <= LONGEST_HEADERS:
            self._chains.put(values, chain)
        return decision


def authorizer(
    mesh: Mesh,
    *,
    proxy: str,
    intermediates: bytes | Iterable[bytes] = (),
    elements: int = 1,
    target: str | None = None,
) -> App:
    """Return an ASGI application that a proxy asks about each request, at ``/authorize``.

    It answers 200 for a request that may be passed on, with ``x-meshid-peer`` (the peer's SPIFFE ID),
    ``x-meshid-peer-name`` (its name, if the policy gives it one), ``x-meshid-rule`` and ``x-meshid-policy``
    (the policy's hash); 401 if the peer has presented no certificate, or with ``www-authenticate`` if its
    bearer token is refused (RFC 6750 section 3); and else 403; the last two with ``x-meshid-reason``. No
    answer may be kept.

    The token is that of the client, in ``Authorization``, if the proxy passes it on to the authorizer.

    Believe nobody but the proxy: serve it on a Unix socket in a directory that others cannot enter.

    Args:
        mesh: Decides.
        proxy: Who asks, as for `Forwarded`; ``"aws-alb"`` asks nobody.
        intermediates: As for `Forwarded`.
        elements: As for `Forwarded`.
        target: What peers reach through the proxy; the mesh's service if None.

    Raises:
        InvalidForwarded: If the intermediates cannot be used.
        TypeError: If an argument has another type.
        ValueError: If the proxy is not known or asks nobody, if *elements* does not fit, or if there is no
            target.
    """
    forwarded = Forwarded(proxy, intermediates=intermediates, elements=elements)
    requested = requested_by(forwarded.proxy)
    # A target of the wrong type, or none, is a mistake to hear of now.
    Question(target=mesh.service if target is None else target)
    return AuthorizerApp(requested, _ForwardedJudge(mesh, forwarded, target), mesh.keep_encoded)


def _about(decision: Decision) -> Pairs:
    facts = (
        (b"x-meshid-peer", decision.name),
        (b"x-meshid-peer-name", decision.peer_name),
        (b"x-meshid-rule", decision.rule),
        (b"x-meshid-policy", decision.policy_hash),
    )
    return [(name, fact.encode()) for name, fact in facts if fact]
