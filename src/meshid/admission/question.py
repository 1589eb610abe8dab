"""The question that is asked about a chain: may this peer reach that target, with that request?

A wrong argument is a mistake of the calling code. It is found here, and is a `TypeError` or a
`ValueError`: a refusal would blame the peer for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias, cast

import attrs

from meshid.certificates.leaf import Role
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.requests import Follows, Request, RequestLike
from meshid.policy.target_form import check_target
from meshid.support.quoting import quote
from meshid.verification.verifier import Peer

PeerName: TypeAlias = PeerPattern | SpiffeId | str
"""One expected name of a server: a SPIFFE ID, or a pattern of SPIFFE IDs."""

Expected: TypeAlias = PeerName | Iterable[PeerName]
"""The names that a server may have: one, or several."""

_HOST_NAME = re.compile(r"[\w-]+(\.[\w-]+)*\.?(:[0-9]+)?")


def patterns_of(expect: object) -> tuple[PeerPattern, ...] | None:
    """Return the patterns, one of which the server's name must match.

    Raises:
        TypeError: If *expect* is neither a name nor an iterable of names.
        ValueError: If it is empty or has a host name.
        InvalidPattern: If a string in it is not a valid pattern.
    """
    if expect is None:
        return None
    if isinstance(expect, PeerName):
        return (_pattern(expect),)
    if isinstance(expect, (bytes, bytearray)) or not isinstance(expect, Iterable):
        raise TypeError(_not_a_name(expect))
    patterns = tuple(map(_pattern, expect))
    if not patterns:
        msg = "expect is empty, and no server could match it; name the server, such as '/ns/pay/sa/api'"
        raise ValueError(msg)
    return patterns


@attrs.frozen(kw_only=True)
class Question:
    """What is asked about a chain.

    Attributes:
        target: What the peer wants to reach; needed for a peer that is a client.
        request: The request, if there is one; or the promise to ask about each that follows.
        expect: Given for a peer that is a server: the patterns, one of which its name must match.

    Raises:
        TypeError, ValueError: If an argument is wrong.
    """

    target: str | None = None
    request: RequestLike = None
    expect: tuple[PeerPattern, ...] | None = attrs.field(default=None, converter=patterns_of)

    def __attrs_post_init__(self) -> None:
        # Not validators of the fields: those would cost a warm `Mesh.admit` a fifth more.
        if self.target is not None:
            check_target(self.target)
        if self.request is not None and not isinstance(self.request, (Request, str, Follows)):
            msg = (
                "request must be a Request, a str such as 'GET /path', REQUEST_FOLLOWS or None,"
                f" not {_kind(self.request)}"
            )
            raise TypeError(msg)
        if self.expect is None and self.target is None:
            msg = (
                "no target: pass target=, or give the mesh a name with Mesh(service=...) or MESHID_SERVICE;"
                " for a peer that is a server, pass expect="
            )
            raise ValueError(msg)

    @property
    def role(self) -> Role:
        """What the peer is in the handshake."""
        return Role.CLIENT if self.expect is None else Role.SERVER

    @property
    def required_target(self) -> str:
        """The target of a peer that is a client."""
        return cast("str", self.target)


def check_fits(question: Question, peer: object) -> None:
    """Check that *question* can be asked about *peer*.

    Raises:
        TypeError: If *peer* is no `Peer`.
        ValueError: If it is a server and is not expected, or the other way round.
    """
    if not isinstance(peer, Peer):
        msg = f"peer must be a Peer from Mesh.admit() or peer_of(), not {_kind(peer)}"
        raise TypeError(msg)
    if question.role is not peer.role:
        msg = f"the peer is a {peer.role}: pass expect= for a server, and for a server only"
        raise ValueError(msg)


def check_takes_token(asked: Question | Peer) -> None:
    """Check that a token can be judged for whoever is *asked* about: a client.

    Raises:
        TypeError: If *asked* is neither a `Question` nor a `Peer`.
        ValueError: If it is a server.
    """
    if not isinstance(asked, (Question, Peer)):
        msg = f"peer must be a Peer from Mesh.admit() or peer_of(), not {_kind(asked)}"
        raise TypeError(msg)
    if asked.role is not Role.CLIENT:
        msg = "the peer is a server: only clients send tokens, and a server's would mean nothing"
        raise ValueError(msg)


def checked_chain(chain: object) -> Sequence[bytes]:
    """Return *chain* if it is a sequence of `bytes`; what the bytes are is the peer's choice.

    Raises:
        TypeError: If it is anything else.
    """
    # The usual types first: to ask whether it is any `Sequence` takes longer than all of the rest.
    if not isinstance(chain, (list, tuple)) and (
        isinstance(chain, (str, bytes, bytearray, memoryview)) or not isinstance(chain, Sequence)
    ):
        msg = f"chain must be a sequence of DER certificates as bytes, leaf first, not {_kind(chain)}"
        raise TypeError(msg)
    for number, each in enumerate(chain):
        if not isinstance(each, bytes):
            msg = f"chain[{number}] must be a DER certificate as bytes, not {_kind(each)}"
            raise TypeError(msg)
    return chain


def _pattern(name: object) -> PeerPattern:
    if isinstance(name, PeerPattern):
        return name
    if isinstance(name, SpiffeId):
        return PeerPattern.parse(str(name))
    if not isinstance(name, str):
        raise TypeError(_not_a_name(name))
    if _HOST_NAME.fullmatch(name):
        msg = (
            f"expect has {quote(name)}, a host name; name the server by its SPIFFE ID,"
            " such as '/ns/pay/sa/api' or 'spiffe://partner.example/ns/pay/**'"
        )
        raise ValueError(msg)
    return PeerPattern.parse(name)


def _not_a_name(value: object) -> str:
    wanted = "a SPIFFE ID or pattern as str, SpiffeId or PeerPattern, or several"
    return f"expect must be {wanted}, not {_kind(value)}"


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
