"""What meshid raises, by who has to act.

    MeshidError
    ├── PeerRejected            the peer is refused
    │   └── ConnectionEnded     the peer was there, and may no longer be
    ├── HandshakeTimeout        the other end is too slow
    ├── NoPeer                  the caller asked for a peer where none was admitted
    ├── TokenUnavailable        there is no token of ours to send
    ├── SourceUnavailable       a file, an endpoint or an agent cannot be read now
    ├── MissingExtra            an optional dependency is not installed
    ├── UnsupportedPython       this Python cannot do what meshid needs
    └── InvalidInput            the operator has to correct something that was loaded
        ├── InvalidSpiffeId
        ├── InvalidPattern
        ├── InvalidBundle
        ├── InvalidCredentials
        ├── InvalidRevocations
        ├── InvalidKeySet
        ├── InvalidRequest
        ├── InvalidForwarded
        ├── PolicyTooComplex
        ├── InvalidPolicy       .problems has all of them, here and in the three below
        ├── InvalidSettings
        ├── InvalidIstioPolicy
        └── NotExportable

A wrong type or a wrong combination of arguments in the calling code is a
`TypeError` or a `ValueError`, as everywhere in Python.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import attrs

from meshid.decisions import Decision
from meshid.reasons import Reason

MAX_SHOWN_PROBLEMS = 50
"""Problems that the text of an error lists, except for Istio policies; `problems` always has all of them."""

_EXTRAS = {
    "authorizer": "uvicorn>=0.40",
    "grpc": "grpcio>=1.80",
    "oidc": "pyjwt[crypto]>=2.15.1,<3",
    "opentelemetry": "opentelemetry-api>=1.35",
    "prometheus": "prometheus-client>=0.22",
    "serve": "uvicorn>=0.48",
    "spire": "spiffe>=0.3.2,<0.4",
    "yaml": "pyyaml>=6.0.3",
}
"""What the extras install: `pip install 'meshid[...]'` works only where an index has meshid."""

_X509_V_ERR_APPLICATION_VERIFICATION = 50


class MeshidError(Exception):
    """Base of everything that meshid raises on its own account."""


class InvalidInput(MeshidError, ValueError):
    """Something that meshid was given breaks its format or its rules."""


class InvalidSpiffeId(InvalidInput):
    """A text is not a SPIFFE ID or not a trust domain (SPIFFE-ID section 2)."""


class InvalidPattern(InvalidInput):
    """A text is not a pattern."""


class InvalidBundle(InvalidInput):
    """Trust bundles cannot be used (SPIFFE Trust Domain and Bundle section 4)."""


class InvalidCredentials(InvalidInput):
    """Our own certificate or key cannot be used (X509-SVID section 2)."""


class InvalidRevocations(InvalidInput):
    """A certificate revocation list or a deny list cannot be used (RFC 5280 section 5)."""


class InvalidKeySet(InvalidInput):
    """The keys of an issuer of tokens cannot be used (RFC 7517 section 5)."""


class InvalidRequest(InvalidInput):
    """A request's method or path cannot be normalised safely (RFC 3986 section 6.2.2)."""


class InvalidForwarded(InvalidInput):
    """A header with a peer's chain is not as the proxy writes it, or the intermediates cannot be used."""


@attrs.frozen
class Problem:
    """One thing that is wrong in a file.

    Attributes:
        where: The place, as a path into the document (``allow[3].from[0]``); may be empty.
        what: What is wrong there, and what to write instead.
    """

    where: str
    what: str

    def __str__(self) -> str:
        """Return ``where: what``."""
        return f"{self.where}: {self.what}" if self.where else self.what


class _ManyProblems(InvalidInput):
    """Several things are wrong at once; the text of the error lists them, one a line.

    Attributes:
        problems: Everything that is wrong.
        file: The file, if the input was read from one.
    """

    _most_shown: ClassVar[int | None] = MAX_SHOWN_PROBLEMS

    def __init__(self, problems: tuple[Problem, ...], file: str | None = None) -> None:
        super().__init__(problems, file)
        self.problems = problems
        self.file = file

    def __str__(self) -> str:
        """List the problems, one a line."""
        lines = [str(problem) for problem in self.problems[: self._most_shown]]
        if hidden := len(self.problems) - len(lines):
            lines.append(f"... and {hidden} more")
        return "\n".join(f"{self.file}: {line}" if self.file else line for line in lines)


class InvalidPolicy(_ManyProblems):
    """A policy cannot be loaded; the problems are in the order of the file.

    Attributes:
        problems: Everything that is wrong.
        file: The file, if the policy was read from one.
    """


class InvalidSettings(_ManyProblems):
    """Settings cannot be used.

    Attributes:
        problems: Everything that is wrong.
        file: The file, if the settings were read from one.
    """


class InvalidIstioPolicy(_ManyProblems):
    """A file is not an Istio policy, or says something that a policy file cannot say exactly.

    Attributes:
        problems: Everything that is wrong; each names its file, document and field.
        file: None: several files are read at once.
    """

    # Whoever imports a mesh needs the whole list, and the command line has only this text.
    _most_shown = None


class NotExportable(_ManyProblems):
    """A policy says something that the filters of a proxy cannot say exactly.

    Attributes:
        problems: Everything that cannot be said; each names its rule.
        file: None: a policy that is loaded no longer knows its file.
    """


class PolicyTooComplex(InvalidInput):
    """An exact answer about a policy would take too long; meshid gives no answer rather than a guess."""


class SourceUnavailable(MeshidError):
    """A source cannot be read now.

    Args:
        text: What is wrong, and where.
        is_lasting: Whether the content is there and is wrong, so that waiting does not help.

    Attributes:
        is_lasting: The same.
    """

    def __init__(self, text: str, *, is_lasting: bool = False) -> None:
        super().__init__(text)
        self.is_lasting = is_lasting


class TokenUnavailable(MeshidError):
    """There is no token of ours to send: its file or its provider has none."""


class MissingExtra(MeshidError):
    """An optional dependency is not installed.

    Args:
        extra: The extra of meshid that installs it.
    """

    def __init__(self, extra: str) -> None:
        right = f"pip install '{_EXTRAS[extra]}' (the extra {extra!r} of meshid)"
        super().__init__(f"this needs an optional dependency: {right}")


class HandshakeTimeout(MeshidError, ssl.SSLError, TimeoutError):
    """A handshake was ended: it had its time, or it was the oldest of too many.

    It is an `ssl.SSLError` and a `TimeoutError`, which servers and clients expect from a handshake.

    Attributes:
        library: ``"meshid"``; this and the next one are what every `ssl.SSLError` has.
        reason: ``"HANDSHAKE_TIMEOUT"``.
    """

    library = "meshid"
    reason = "HANDSHAKE_TIMEOUT"


class UnsupportedPython(MeshidError):
    """This Python's ssl module does not show the messages of a handshake: nobody could be admitted."""


class NoPeer(MeshidError):
    """There is no admitted peer at the other end of this object."""


class PeerRejected(MeshidError, ssl.SSLCertVerificationError):
    """The peer is refused.

    It is an `ssl.SSLCertVerificationError`, so that every framework treats it as the
    failed handshake that it is. About a client, its text is the same for every cause: some
    frameworks send the text of an exception to the other end, and an unknown peer must learn
    nothing. About a server it says the cause and the facts, to the client that has refused it.

    Args:
        decision: The decision that refuses the peer.
        of_server: Whether the peer is a server, and we are its client.

    Attributes:
        reason: The cause.
        detail: The facts of this case in one sentence, bounded and escaped.
        decision: The whole decision.
        of_server: Whether the peer is a server.
        library: ``"meshid"``; this and the next two are what every `ssl.SSLCertVerificationError` has.
        verify_code: OpenSSL's code for a refusal by the application, 50.
        verify_message: The text.
    """

    # OpenSSL's mnemonic has this name in `ssl.SSLError`; ours is a `str`, too.
    reason: Reason

    def __init__(self, decision: Decision, *, of_server: bool = False) -> None:
        text = "peer rejected"
        if of_server:
            name = f" ({decision.name})" if decision.name else ""
            text = f"{text}: {decision.reason}{name}: {decision.detail or decision.reason.meaning}"
        super().__init__(ssl.SSLErrorNumber.SSL_ERROR_SSL, text)
        self.decision = decision
        self.of_server = of_server
        self.reason = decision.reason
        self.detail = decision.detail
        self.library = "meshid"
        self.verify_code = _X509_V_ERR_APPLICATION_VERIFICATION
        self.verify_message = text

    def __str__(self) -> str:
        """Return the text; about a client it is the same for every cause."""
        return self.verify_message

    def __reduce__(self) -> tuple[Callable[..., PeerRejected], tuple[Decision]]:
        """Pickle the decision and whom it is about; everything else is made from them."""
        return partial(type(self), of_server=self.of_server), (self.decision,)


class ConnectionEnded(PeerRejected, ConnectionAbortedError):
    """An open connection was ended, because its peer may no longer be there.

    Whoever reads or writes on it gets this. It is a `ConnectionAbortedError` as well, so that
    every framework takes it for a connection that was lost, which it is, and not for a mistake
    in a handler, which it would log with a traceback.

    Args:
        decision: The decision that refuses the peer.
        of_server: As for `PeerRejected`.

    Attributes:
        reason: The cause.
        detail: The facts of this case in one sentence, bounded and escaped.
        decision: The whole decision.
        of_server: As for `PeerRejected`.
        library: As for `PeerRejected`, with the next two.
        verify_code: The same.
        verify_message: The same.
        errno: `errno.ECONNABORTED`, and so is ``args[0]``.
    """

    def __init__(self, decision: Decision, *, of_server: bool = False) -> None:
        super().__init__(decision, of_server=of_server)
        self.errno = errno.ECONNABORTED
        # Where waitress, like asyncore, looks.
        self.args = (errno.ECONNABORTED, *self.args[1:])


class Refused(Exception):
    """A chain breaks a rule, and the function that found it does not know the name in the leaf.

    Internal. `ChainVerifier.verify` adds the name and raises `PeerRejected`. It is not a
    `MeshidError`, so that nobody catches it by accident on its way there.

    Args:
        reason: The cause.
        detail: The facts of this case in one sentence, bounded and escaped.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def decision(self, name: str | None = None) -> Decision:
        """Return the decision that refuses the chain whose leaf claims *name*."""
        return Decision(allowed=False, reason=self.reason, name=name, detail=self.detail)
