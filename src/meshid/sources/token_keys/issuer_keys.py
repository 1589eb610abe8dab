"""`IssuerKeys`: the keys of an issuer, from its provider.

The rules of this module:

- Where to ask is in the policy, or in the discovery document of the issuer that the policy names; nothing of
  a token leads anywhere.
- No other origin answers for an issuer: redirects are refused, and discovery names keys of its own origin.
  So the token that we ask with goes to that origin alone.
- One read is one thing: whatever its parts are, they have one deadline together.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from meshid.errors import InvalidInput, InvalidKeySet, SourceUnavailable
from meshid.policy.issuers import Issuer
from meshid.sources.files.consistent_read import read_together, reason_of
from meshid.sources.https.deadlines import Deadline, EndableReads, Stopped
from meshid.sources.https.http_get import Answer, NoResponse, ask
from meshid.sources.https.urls import HttpsUrl
from meshid.sources.https.web_server import WebServer
from meshid.sources.source import State
from meshid.sources.token_keys.serve_until import ServeUntil, state_of
from meshid.support.quoting import quote
from meshid.support.strict_json import parse_json
from meshid.tokens.key_set import KeySet

READ_SECONDS = 15.0
"""For one read as a whole: discovery, the keys, the last byte."""

RETRY_SECONDS = 60
"""After a read that failed."""

DEFAULT_AGE, MIN_AGE, MAX_AGE = 300, 60, 3600
"""Seconds after which to ask again: if the provider does not say, at least, and at most."""

MAX_ANSWER_BYTES = 1 << 20
"""Of one answer. A set of 100 keys of RSA with 8192 bits has 150 kB."""

MAX_BEARER_BYTES = 1 << 14

_DISCOVERY = "/.well-known/openid-configuration"
_JITTER = 0.1
# RFC 6750 section 2.1; whatever else is in the file would be more headers.
_BEARER = re.compile(rb"[A-Za-z0-9._~+/-]+=*", re.ASCII)


class IssuerKeys:
    """The keys of an issuer, fetched from `Issuer.jwks` or where discovery leads (OpenID Connect Discovery).

    It is asked directly, never through a proxy from the environment.

    Args:
        issuer: The issuer.
        clock: Returns the POSIX time in seconds.

    Attributes:
        name: What it is and where.
        is_required: False: no mesh waits for the keys of an issuer.
        is_stream: False: it is polled.
    """

    is_required = False
    is_stream = False

    def __init__(self, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._serve_until = ServeUntil(issuer, clock)
        self._reads = EndableReads()
        self._pause = DEFAULT_AGE
        place = issuer.issuer if issuer.jwks is None else issuer.jwks
        self.name = f"keys of issuer {quote(issuer.name)} {quote(str(place))}"

    def read(self) -> State:
        """Fetch the keys.

        Returns:
            A state with the keys, and the time until which they count.

        Raises:
            SourceUnavailable: If the right server does not answer, or leads elsewhere.
            InvalidKeySet: If its answer is no key set.
        """
        self._pause = RETRY_SECONDS
        try:
            with self._reads.within(READ_SECONDS) as deadline:
                answer = self._fetch(deadline)
            keys = KeySet.from_json(self._issuer.name, answer.body, pinned=self._issuer.pinned_keys)
        except InvalidKeySet as error:
            msg = f"{self.name}: {error}"
            raise InvalidKeySet(msg) from error
        except Stopped as error:
            msg = f"{self.name}: it was closed"
            raise SourceUnavailable(msg) from error
        except (NoResponse, InvalidInput, SourceUnavailable) as error:
            msg = f"{self.name}: {error}"
            raise SourceUnavailable(msg) from error
        self._pause = max(MIN_AGE, min(DEFAULT_AGE if answer.max_age is None else answer.max_age, MAX_AGE))
        return state_of(self._serve_until.prolonged(keys))

    def pause(self) -> float:
        """Return the seconds until the next read: what the provider says (RFC 9111), within limits."""
        return self._pause * secrets.SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)

    def close(self) -> None:
        """End a read that waits, and refuse any further one; from any thread."""
        self._reads.close()

    def _fetch(self, deadline: Deadline) -> Answer:
        get = _Getter(self._issuer, deadline)
        if self._issuer.jwks is not None:
            return get(HttpsUrl.parse(self._issuer.jwks))
        issuer = str(self._issuer.issuer)
        # OpenID Connect Discovery section 4.1: "any terminating / MUST be removed".
        url = HttpsUrl.parse(issuer.removesuffix("/") + _DISCOVERY)
        return get(_discovered(get(url).body, issuer, url))


class _Getter:
    """Asks the provider of an issuer, with what its files say now."""

    def __init__(self, issuer: Issuer, deadline: Deadline) -> None:
        paths = [Path(path) for path in (issuer.roots, issuer.bearer_file) if path is not None]
        try:
            contents = read_together(paths) if paths else []
        except OSError as error:
            raise SourceUnavailable(reason_of(error)) from error
        try:
            self._server = WebServer(contents.pop(0) if issuer.roots is not None else None)
        except InvalidInput as error:
            msg = f"{quote(str(issuer.roots))}: {error}"
            raise SourceUnavailable(msg) from error
        self._bearer = None if issuer.bearer_file is None else _bearer(issuer.bearer_file, *contents)
        self._deadline = deadline

    def __call__(self, url: HttpsUrl) -> Answer:
        """Send a GET request; a redirect is refused."""
        try:
            answer = ask(url, self._server, self._deadline, limit=MAX_ANSWER_BYTES, bearer=self._bearer)
        except NoResponse as error:
            msg = f"{quote(url.text)}: {error}"
            raise SourceUnavailable(msg) from error
        if answer.location is not None:
            msg = (
                f"{quote(url.text)}: it redirects to {quote(answer.location)}, and redirects are refused:"
                " set jwks to the URL of the keys"
            )
            raise SourceUnavailable(msg)
        return answer


def _bearer(path: str, content: bytes) -> str:
    token = content.strip()
    # The token is a secret: what it looks like is not told.
    if len(token) > MAX_BEARER_BYTES or not _BEARER.fullmatch(token):
        msg = f"bearer_file {quote(path)}: it has no token in it (RFC 6750 section 2.1)"
        raise SourceUnavailable(msg)
    return token.decode()


def _discovered(data: bytes, issuer: str, url: HttpsUrl) -> HttpsUrl:
    """Return where the keys are (OpenID Connect Discovery section 4.3)."""
    where = f"discovery document {quote(url.text)}"
    try:
        document = parse_json(data)
    except ValueError as error:
        msg = f"{where}: {error}"
        raise SourceUnavailable(msg) from error
    if not isinstance(document, dict):
        msg = f"{where}: it is not a JSON object"
        raise SourceUnavailable(msg)
    if document.get("issuer") != issuer:
        msg = (
            f"{where}: its issuer is {_shown(document.get('issuer'))}, and must be {quote(issuer)}, byte for"
            " byte: is it the right issuer?"
        )
        raise SourceUnavailable(msg)
    text = document.get("jwks_uri")
    with suppress(InvalidInput):
        keys = HttpsUrl.parse(text) if isinstance(text, str) else None
        if keys is not None and keys.origin == url.origin:
            return keys
    msg = (
        f"{where}: its jwks_uri is {_shown(text)}, and only an https URL of the same origin is believed;"
        " if it is right, set jwks to it in the policy"
    )
    raise SourceUnavailable(msg)


def _shown(value: object) -> str:
    return quote(value) if isinstance(value, str) else f"no string ({type(value).__name__})"
