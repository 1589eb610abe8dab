"""What `meshid check-nginx` says: one mistake each, with its place."""

from __future__ import annotations

from enum import StrEnum

import attrs


class Trap(StrEnum):
    """A kind of mistake."""

    NOBODY_ASKED = "nobody_asked"
    """A request is served, and meshid was not asked."""
    BEFORE_THE_QUESTION = "before_the_question"
    """It is answered before meshid is asked."""
    OTHER_PATH = "other_path"
    """The path that is judged is not the one that is served."""
    DECODED_PATH = "decoded_path"
    """What a client wrote is decoded into a header or a request line."""
    ANY_IS_ENOUGH = "any_is_enough"
    """Another check can take the place of meshid's."""
    REFUSAL_ANSWERED = "refusal_answered"
    """A refusal becomes another answer."""
    KEPT_VERDICT = "kept_verdict"
    """One verdict for everybody."""
    OPEN_QUESTION = "open_question"
    """A client can ask, or write into the question."""
    WRONG_QUESTION = "wrong_question"
    """Meshid is not told whom or what it judges."""
    FORGED_PEER = "forged_peer"
    """The service gets a name that the client wrote."""
    NOT_VERIFIED = "not_verified"
    """Certificates are not asked for, or believed by nginx's word."""
    CLAIMED_ADDRESS = "claimed_address"
    """Strangers can write a PROXY header."""
    FORGED_CERTIFICATE = "forged_certificate"
    """The service gets a certificate header that the client wrote; a warning."""
    RESUMPTION = "resumption"
    """A session outlives its certificate; a warning."""
    LARGE_BODY = "large_body"
    """A large body is a 500; a warning."""
    UNREAD = "unread"
    """A file was not looked at; a warning."""

    @property
    def is_warning(self) -> bool:
        """Whether nobody gets in by it alone."""
        return self in {Trap.FORGED_CERTIFICATE, Trap.RESUMPTION, Trap.LARGE_BODY, Trap.UNREAD}


@attrs.frozen
class Caught:
    """One mistake.

    Attributes:
        trap: What kind it is.
        where: Its place.
        what: What happens, and what to write instead.
    """

    trap: Trap
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"

    def as_dict(self) -> dict[str, object]:
        """Return it as plain data, with ``warning`` for whether its kind is one."""
        return {
            "kind": str(self.trap),
            "warning": self.trap.is_warning,
            "where": self.where,
            "what": self.what,
        }
