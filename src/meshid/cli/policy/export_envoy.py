"""`meshid policy export envoy`: a policy for one target as RBAC filters of Envoy."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from meshid.cli.inputs import read_policy, target_named
from meshid.cli.no_answer import NoAnswer, errors_named
from meshid.cli.policy.options import add_environment, add_file, add_output
from meshid.cli.policy.output import YES, write
from meshid.cli.terminal import clean
from meshid.envoy import export_rbac

_INSTEAD = (
    "nothing is exported; let Envoy ask meshid about each request (meshid authorizer), or export a copy of"
    " the file in which these are left out or written in another way"
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add_file(parser)
    add_environment(parser)
    parser.add_argument(
        "--target",
        metavar="NAME",
        type=target_named,
        required=True,
        help="the one target that Envoy stands in front of",
    )
    add_output(parser)


def run(arguments: Namespace) -> int:
    """Export, write the filters, and print notes for a person on standard error.

    Raises:
        NoAnswer: If the policy cannot be loaded, or with everything that Envoy cannot say exactly.
    """
    policy = read_policy(arguments.file, arguments.environment)
    try:
        with errors_named(arguments.file):
            exported = export_rbac(policy, arguments.target)
    except NoAnswer as error:
        raise NoAnswer(*error.lines, _INSTEAD) from error
    write(exported.yaml, arguments.output, inputs=[arguments.file])
    for note in exported.notes:
        print(clean(f"meshid: note: {note}"), file=sys.stderr)
    return YES
