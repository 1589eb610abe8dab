"""`meshid policy replay`: which decisions of an audit log would flip under another policy."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from meshid.audit.replay.log import lines_of
from meshid.audit.replay.replay import replay
from meshid.audit.replay.result import Flip, Replayed, Skipped
from meshid.cli.inputs import opened, read_policy
from meshid.cli.no_answer import NoAnswer, errors_named, file_name
from meshid.cli.policy.options import add_environment, add_json, add_now
from meshid.cli.policy.output import NO, YES, answer
from meshid.cli.policy.progress import with_progress
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.decisions import Decision
from meshid.support.quoting import plural, quote

_SHOWN_FLIPS = 50


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("log", metavar="LOG", help="an audit log, as meshid.JsonFormatter writes it; - is standard input")
    add("--policy", metavar="FILE", required=True, help="the policy that decides now, TOML or JSON")
    add_environment(parser)
    add_now(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Replay the log, and print what would flip.

    Raises:
        NoAnswer: If the policy cannot be loaded, or less than half of the decisions in the log can be
            replayed, and none of these would flip.
    """
    policy = read_policy(arguments.policy, arguments.environment)
    with errors_named(arguments.log), opened(arguments.log) as file:
        replayed = replay(with_progress(lines_of(file), file), policy, arguments.now)
    if not replayed.is_enough and not replayed.flipped:
        raise NoAnswer(*_too_little(arguments.log, replayed))
    answer(arguments, replayed.as_dict(), _lines(replayed, paint_for_stdout()))
    return NO if replayed.flipped else YES


def _too_little(log: str, replayed: Replayed) -> Iterator[str]:
    if not replayed.lines:
        yield f"{file_name(log)} is empty"
        return
    if replayed.replayed:
        of = plural(replayed.replayed + replayed.undecided, "decision")
        few = f"only {replayed.replayed} of {of} can be replayed: too few to say that none would flip"
        yield f"{file_name(log)}: {few}"
    else:
        yield f"{file_name(log)}: none of its {plural(replayed.lines, 'line')} can be replayed"
    yield from (f"{file_name(log)}: {line}" for line in map(_skipped_words, replayed.skipped))


def _lines(replayed: Replayed, paint: Paint) -> Iterator[str]:
    of = f"of {plural(replayed.replayed, 'decision')} would flip"
    if replayed.flipped:
        yield paint(f"{replayed.flipped} {of}", Colour.BAD)
    else:
        yield paint(f"none {of}", Colour.GOOD)
    for flip in replayed.flips[:_SHOWN_FLIPS]:
        yield from _flip_lines(flip, paint)
    if (more := len(replayed.flips) - _SHOWN_FLIPS) > 0:
        yield f"  ... and {more} more kinds of flips; --json shows them"
    if replayed.unlisted:
        yield f"  {replayed.unlisted} more would flip; they are only counted, as there are too many kinds"
    if skipped := sum(each.count for each in replayed.skipped):
        yield f"  not replayed: {plural(skipped, 'line')}"
        yield from (clean(f"    {_skipped_words(each)}") for each in replayed.skipped)
    yield f"  policy {replayed.policy_hash}"


def _flip_lines(flip: Flip, paint: Paint) -> Iterator[str]:
    turn, colour = ("now admitted", Colour.GOOD) if flip.now.allowed else ("now refused", Colour.BAD)
    what = f"{plural(flip.count, 'time')}: {flip.was.name} at {quote(flip.was.target or '')}"
    yield f"  {paint(turn, colour)}, {clean(what)}"
    for name, words in (
        ("was", _verdict_words(flip.was)),
        ("now", _verdict_words(flip.now)),
        ("first", flip.first.isoformat(sep=" ", timespec="seconds")),
        ("last", flip.last.isoformat(sep=" ", timespec="seconds")),
        ("for", ", ".join(_request_words(flip))),
    ):
        yield f"    {paint(name.ljust(5), Colour.QUIET)}  {clean(words)}"


def _request_words(flip: Flip) -> Iterator[str]:
    for each in flip.requests:
        times = f" ({plural(each.count, 'time')})" if each.count > 1 else ""
        yield f"{quote(each.request) if each.request else 'a handshake'}{times}"
    if more := flip.count - sum(each.count for each in flip.requests):
        yield f"and {more} more"


def _verdict_words(decision: Decision) -> str:
    rule = f", rule {decision.rule}" if decision.rule else ""
    return f"{decision.reason}{rule}{f': {decision.detail}' if decision.detail else ''}"


def _skipped_words(skipped: Skipped) -> str:
    lines = [f"{each.line}{f' ({each.what})' if each.what else ''}" for each in skipped.examples]
    more = ", ..." if skipped.count > len(lines) else ""
    return f"{plural(skipped.count, 'line')}: {skipped.cause.meaning} At line {', '.join(lines)}{more}"
