"""`meshid policy import istio`: a policy file made from those of Istio."""

from __future__ import annotations

import json
import sys
import tomllib
from argparse import ArgumentParser, Namespace

from meshid.cli.inputs import read_some
from meshid.cli.no_answer import NoAnswer
from meshid.cli.policy.options import add_output
from meshid.cli.policy.output import YES, write
from meshid.cli.terminal import clean
from meshid.errors import InvalidInput
from meshid.istio import Imported, import_istio


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+", help="YAML, as kubectl prints it; - is standard input")
    add("--environment", metavar="NAME", required=True, help="the environment that the policy is for")
    add(
        "--trust-domain",
        metavar="NAME",
        action="append",
        required=True,
        dest="trust_domains",
        help="the mesh's trust domain; may be repeated, for its aliases",
    )
    add("--namespace", metavar="NAME", help="the namespace of policies that name none, as for kubectl -n")
    add(
        "--stricter",
        action="store_true",
        help="leave what has no equivalent out of an ALLOW, and let a DENY deny without it; each is said",
    )
    add(
        "--without-custom",
        action="store_true",
        help="leave out policies with the action CUSTOM, so that their provider is not asked; each is said",
    )
    add_output(parser)
    add("--json", action="store_true", help="write JSON instead of TOML")


def run(arguments: Namespace) -> int:
    """Import, write the policy file, and print notes for a person on standard error.

    Raises:
        NoAnswer: If a file cannot be read, or cannot be expressed as a policy file.
    """
    imported = _imported(arguments)
    write(_text(imported, as_json=arguments.json), arguments.output, inputs=arguments.files)
    for note in imported.notes:
        print(clean(f"meshid: note: {note}"), file=sys.stderr)
    return YES


def _imported(arguments: Namespace) -> Imported:
    sources = [(path, read_some(path)) for path in arguments.files]
    try:
        return import_istio(
            sources,
            environment=arguments.environment,
            trust_domains=arguments.trust_domains,
            namespace=arguments.namespace,
            stricter=arguments.stricter,
            without_custom=arguments.without_custom,
        )
    except InvalidInput as error:
        raise NoAnswer(*str(error).splitlines()) from error


def _text(imported: Imported, *, as_json: bool) -> str:
    return f"{json.dumps(tomllib.loads(imported.toml), indent=2)}\n" if as_json else imported.toml
