"""`meshid policy lint`: what in a policy is probably a mistake."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping

from meshid.cli.inputs import read_policies
from meshid.cli.policy.options import add_environments, add_file, add_json
from meshid.cli.policy.output import NO, YES, answer
from meshid.cli.policy.progress import progress_of
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.policy import Finding, FindingKind, Policy
from meshid.policy.analysis.finding import by_environment
from meshid.support.quoting import plural


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environments(parser)
    parser.add_argument(
        "--ignore",
        metavar="KIND",
        action="append",
        default=[],
        choices=list(map(str, FindingKind)),
        help=f"a kind of findings to leave out; may be repeated: {', '.join(FindingKind)}",
    )
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Look at the policy of each environment, and print the findings.

    Raises:
        NoAnswer: If the policy cannot be loaded.
        PolicyTooComplex: If its rules are too entangled to analyse.
    """
    policies = read_policies(arguments.file, arguments.environments)
    ignore = [FindingKind(kind) for kind in arguments.ignore]
    with progress_of("linting") as progress:
        found = by_environment(
            (each.environment.name, each.lint(ignore=ignore, progress=progress)) for each in policies
        )
    answer(arguments, _as_dict(policies, found), _lines(policies, found, paint_for_stdout()))
    return NO if any(not each.kind.is_warning for each in found) else YES


def _as_dict(policies: list[Policy], found: Mapping[Finding, list[str]]) -> dict[str, object]:
    return {
        "environments": [policy.environment.name for policy in policies],
        "findings": [each.as_dict() | {"environments": environments} for each, environments in found.items()],
        **({"isolation": proved} if (proved := _proved(policies)) else {}),
    }


def _proved(policies: list[Policy]) -> str:
    """Return what loading the file has proven of its environments; nothing if it names no peers."""
    return next((str(policy.isolation) for policy in policies if policy.isolation is not None), "")


def _lines(policies: list[Policy], found: Mapping[Finding, list[str]], paint: Paint) -> Iterator[str]:
    warnings = sum(each.kind.is_warning for each in found)
    others = len(found) - warnings
    counts = [plural(others, "finding")] * bool(others) + [plural(warnings, "warning")] * bool(warnings)
    colour = Colour.BAD if others else Colour.STAR if warnings else Colour.GOOD
    yield paint(", ".join(counts) or "nothing found", colour)
    for each, environments in found.items():
        where = f" (in {', '.join(environments)})" if len(environments) < len(policies) else ""
        yield f"  {clean(f'{each}{where}')} {paint(f'[{each.kind}]', Colour.QUIET)}"
    if proved := _proved(policies):
        yield clean(proved)
