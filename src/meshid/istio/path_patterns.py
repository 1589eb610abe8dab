"""Istio's matches of paths, as patterns.

A ``*`` at the beginning or at the end runs across "/", and ours does not. One in the middle is a
literal star, and a template takes some characters only: nothing here says either exactly, so there
is a pattern of at least the same paths, which is used only where more paths mean fewer that are let in.
"""

from __future__ import annotations

import re

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

_VISIBLE = re.compile(r"[!-~]+")
_STARS = re.compile(r"\*+")
_TEMPLATE = re.compile(r"\{\*\*?\}")


def why_inexact(text: str) -> str | None:
    """Say why a path has no exact pattern; None if it has one, or none at all."""
    if text == "*":
        return None
    if _TEMPLATE.search(text):
        return f"{quote(text)} is a template, which takes some characters only"
    if _has_literal_star(text):
        return f"{quote(text)} has a '*' in the middle, where Istio takes it literally"
    return None


def path_pattern(text: str) -> str:
    """Return the pattern of the paths that *text* means; of more, where `why_inexact` says why.

    Raises:
        InvalidInput: If there is none.
    """
    if not _VISIBLE.fullmatch(text):
        msg = f"{quote(text)} has a character that no path has as Istio compares it, percent-encoded"
        raise InvalidInput(msg)
    if "{" in text:
        return _template(text)
    if text == "*":
        return "/**"
    if _has_literal_star(text):
        text = _STARS.sub("*", text)
    if text.startswith("*"):
        suffix = text[1:]
        return f"/**{suffix}" if suffix.startswith("/") else f"/**/*{suffix}"
    if not text.startswith("/"):
        msg = f"{quote(text)} does not begin with '/', and would match no path"
        raise InvalidInput(msg)
    return f"{text}/**" if text.endswith("*") else text


def _has_literal_star(text: str) -> bool:
    """Tell whether there is a star beside one at the beginning or at the end."""
    return "*" in (text[1:] if text.startswith("*") else text[:-1])


def _template(text: str) -> str:
    path = "/" + "/".join(map(_wide_segment, text.removeprefix("/").split("/")))
    if "{" in path:
        msg = f"{quote(text)} is a template that is not known here; write the paths out"
        raise InvalidInput(msg)
    return path


def _wide_segment(segment: str) -> str:
    before, any_number, after = segment.replace("{*}", "*").partition("{**}")
    if before and after:
        # It may stay in its segment or not; no pattern says both.
        return segment
    return f"{before and before + '*/'}**{after and '/*' + after}" if any_number else before
