"""`meshid policy check`: ok, or every error in a policy file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from meshid.cli.inputs import read_policy_file
from meshid.cli.policy.options import add_environments, add_file, add_json
from meshid.cli.policy.output import NO, YES, answer, painted
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.errors import InvalidPolicy
from meshid.policy import Policy
from meshid.support.quoting import plural


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environments(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Load the file, and print what is in it or what is wrong with it.

    Raises:
        NoAnswer: If it cannot be read.
    """
    paint = paint_for_stdout()
    file = read_policy_file(arguments.file)
    try:
        policies = file.policies(arguments.environments)
    except InvalidPolicy as error:
        answer(arguments, _as_dict([], error), _error_lines(error, paint))
        return NO
    answer(arguments, _as_dict(policies), _lines(policies, paint))
    return YES


def _as_dict(policies: list[Policy], error: InvalidPolicy | None = None) -> dict[str, object]:
    problems = error.problems if error else ()
    return {
        "right": not problems,
        "mistakes": [{"where": each.where, "what": each.what} for each in problems],
        "environments": [_environment(each) for each in policies],
    }


def _environment(policy: Policy) -> dict[str, object]:
    return {
        "environment": policy.environment.name,
        "rules": len(policy.rules),
        "trust_domains": list(map(str, policy.environment.trust_domains)),
        "federates_with": list(map(str, policy.environment.federates_with)),
        "observe": policy.observe,
        "policy_hash": policy.hash,
    }


def _error_lines(error: InvalidPolicy, paint: Paint) -> Iterator[str]:
    lines = "\n  ".join(str(error).splitlines())
    return painted(f"{plural(len(error.problems), 'error')}\n  {lines}", Colour.BAD, paint)


def _lines(policies: list[Policy], paint: Paint) -> Iterator[str]:
    yield paint("ok", Colour.GOOD)
    for policy in policies:
        yield clean(f"  {policy.environment.name}: {_words(policy)}")


def _words(policy: Policy) -> str:
    own, others = policy.environment.trust_domains, policy.environment.federates_with
    words = [plural(len(policy.rules), "rule"), f"trust domains {', '.join(map(str, own))}"]
    words += [f"federates with {', '.join(map(str, others))}"] if others else []
    words += ["only observes: it lets EVERY verified peer in"] if policy.observe else []
    return "; ".join([*words, f"hash {policy.hash}"])
