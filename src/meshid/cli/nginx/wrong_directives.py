"""Directives of nginx that are wrong by themselves, where they stand. Each was seen to be in a real nginx."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import attrs

from meshid.cli.nginx.levels import PASSING, Level
from meshid.cli.nginx.nginx_configuration import Directive
from meshid.cli.nginx.trap import Caught, Trap
from meshid.support.quoting import quote

_DECODED = re.compile(r"\$(?:uri|document_uri|\d)\b|\$\{(?:uri|document_uri|\d+)\}")
_ABSOLUTE = re.compile(r"https?://|\$scheme\b|\$\{scheme\}", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:\w+://)?(?:unix:[^:]*:?|[^/]*)(?P<uri>/.*)?", re.DOTALL)
_LOOPBACK = re.compile(r"unix:|127\.|\[::1\]|localhost(?::|$)|\$\{")
"""Or a name that is filled in later."""


@attrs.frozen
class _Check:
    """Finds one kind of wrong directive.

    Attributes:
        trap: What kind it is.
        names: The directives that are looked at.
        is_wrong: Whether one of them is wrong, in a block.
        what: What happens, and what to write instead.
        inherited: Whether one in a block around counts as well.
        where_judged: Whether it is wrong only where meshid is asked.
    """

    trap: Trap
    names: tuple[str, ...]
    is_wrong: Callable[[Directive, Level], bool]
    what: str
    inherited: bool = False
    where_judged: bool = True

    def caught(self, level: Level) -> Iterator[Caught]:
        if self.where_judged and not level.is_judged:
            return
        find = level.effective if self.inherited else level.own
        for each in find(*self.names):
            if self.is_wrong(each, level):
                yield Caught(self.trap, each.where, f"{quote(str(each))}: {self.what}")


def wrong_directives(level: Level) -> Iterator[Caught]:
    """Yield what is wrong by itself in a block."""
    for check in _CHECKS:
        yield from check.caught(level)


def is_decoded(each: Directive, _: Level) -> bool:
    """Return whether a directive has the decoded path, or a part of it."""
    return any(_DECODED.search(argument) for argument in each.arguments)


def _is(word: str) -> Callable[[Directive, Level], bool]:
    return lambda each, _: each.arguments[:1] == (word,)


def _serves(each: Directive, _: Level) -> bool:
    code, *text = each.arguments or ("",)
    # A bare error tells nothing, and a redirect only where to.
    return code.startswith("2") or (bool(text) and code[:1] in {"4", "5"})


def _changes_the_path(each: Directive, _: Level) -> bool:
    target, *flags = each.arguments[1:] or ("",)
    return not (_ABSOLUTE.match(target) or {"redirect", "permanent"} & set(flags))


def _answers_refusals(each: Directive, _: Level) -> bool:
    return bool({"401", "403", "500"} & set(each.arguments)) and any(
        argument.startswith(("=", "@")) for argument in each.arguments
    )


def _has_uri(each: Directive, _: Level) -> bool:
    match = _ADDRESS.match(each.arguments[0]) if each.arguments else None
    return match is not None and match["uri"] is not None


def _reaches_above(each: Directive, level: Level) -> bool:
    prefix = level.head.arguments[-1] if level.head.arguments else "/"
    return str(each).endswith("/") and not prefix.endswith("/")


def _can_be_claimed(each: Directive, _: Level) -> bool:
    return "proxy_protocol" in each.arguments and not _LOOPBACK.match(each.arguments[0])


def _asks_nginx(each: Directive, _: Level) -> bool:
    return any("$ssl_client_verify" in argument for argument in each.arguments)


_CHECKS = (
    _Check(
        Trap.NOBODY_ASKED,
        ("auth_request",),
        _is("off"),
        "meshid is not asked here; leave it out, and allow it in the policy",
        where_judged=False,
    ),
    _Check(
        Trap.BEFORE_THE_QUESTION,
        ("return",),
        _serves,
        "strangers get this, for it comes before auth_request; write try_files, alias or a proxy_pass",
    ),
    _Check(
        Trap.OTHER_PATH,
        ("rewrite",),
        _changes_the_path,
        "meshid judges the path before this, the service gets the one after it; rewrite there, or redirect",
    ),
    _Check(
        Trap.OTHER_PATH,
        ("proxy_pass",),
        _has_uri,
        "the service gets another path than meshid; write nothing after the name of the server, not even '/'",
    ),
    _Check(
        Trap.OTHER_PATH,
        ("alias",),
        _reaches_above,
        "a path that goes on with '..' reaches the folder above; let the location end in '/'",
    ),
    _Check(
        Trap.ANY_IS_ENOUGH,
        ("satisfy",),
        _is("any"),
        "an 'allow' or a password is enough, whatever meshid says; write 'satisfy all;'",
        inherited=True,
    ),
    _Check(
        Trap.REFUSAL_ANSWERED,
        ("error_page",),
        _answers_refusals,
        "something else answers a refusal; for 401, 403 and 500 write neither '=' nor '@'",
        inherited=True,
    ),
    _Check(
        Trap.DECODED_PATH,
        ("set", *PASSING, *(setting for setting, _ in PASSING.values())),
        is_decoded,
        "this is the decoded path, and '%0d%0a' in it writes headers; write $request_uri, or no path",
        where_judged=False,
    ),
    _Check(
        Trap.NOT_VERIFIED,
        ("if",),
        _asks_nginx,
        "it says that one of all authorities signed, not who it is; leave it out, for meshid says that",
        where_judged=False,
    ),
    _Check(
        Trap.CLAIMED_ADDRESS,
        ("listen",),
        _can_be_claimed,
        "who reaches this port can write a PROXY header, and be anybody; listen on the loopback",
        where_judged=False,
    ),
    _Check(
        Trap.FORGED_PEER,
        ("underscores_in_headers",),
        _is("on"),
        "X_Meshid_Peer arrives beside X-Meshid-Peer, and is the same in WSGI; leave this line out",
        inherited=True,
        where_judged=False,
    ),
)
