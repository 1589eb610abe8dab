"""`meshid policy lint`: what is in a policy and is probably not meant."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from meshid.cli.files import read_policies
from meshid.cli.policy.options import add_environments, add_file, add_json
from meshid.cli.policy.output import NO, YES, tell
from meshid.cli.terminal import Colour, Paint, clean, paint_for_stdout
from meshid.policy import Finding, FindingKind, Policy
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
    """Look at the policy of each environment, and tell the findings.

    Raises:
        NoAnswer: If the policy cannot be loaded.
        PolicyTooComplex: If its rules are too entangled to tell.
    """
    policies = read_policies(arguments.file, arguments.environments)
    found = _found(policies, [FindingKind(kind) for kind in arguments.ignore])
    tell(arguments, _facts(policies, found), _lines(policies, found, paint_for_stdout()))
    return NO if any(not each.kind.is_warning for each in found) else YES


_Found = dict[Finding, list[str]]


def _found(policies: list[Policy], ignore: list[FindingKind]) -> _Found:
    """Return each finding once, with the environments that it is found in."""
    found: _Found = {}
    for policy in policies:
        for finding in policy.lint(ignore=ignore):
            found.setdefault(finding, []).append(policy.environment.name)
    return found


def _facts(policies: list[Policy], found: _Found) -> dict[str, object]:
    return {
        "environments": [policy.environment.name for policy in policies],
        "findings": [
            {
                "kind": str(each.kind),
                "warning": each.kind.is_warning,
                "where": each.where,
                "rule": each.rule,
                "what": each.what,
                "environments": environments,
            }
            for each, environments in found.items()
        ],
    }


def _lines(policies: list[Policy], found: _Found, paint: Paint) -> Iterator[str]:
    warnings = sum(each.kind.is_warning for each in found)
    others = len(found) - warnings
    counts = [plural(others, "finding")] * bool(others) + [plural(warnings, "warning")] * bool(warnings)
    colour = Colour.BAD if others else Colour.STAR if warnings else Colour.GOOD
    yield paint(", ".join(counts) or "nothing found", colour)
    for each, environments in found.items():
        where = f" (in {', '.join(environments)})" if len(environments) < len(policies) else ""
        yield f"  {clean(f'{each}{where}')} {paint(f'[{each.kind}]', Colour.QUIET)}"
