"""Files as values; each error names its file."""

from __future__ import annotations

import base64
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import attrs

from meshid.certificates.pem import pem_blocks
from meshid.cli.no_answer import STDIN, NoAnswer, errors_named, file_name
from meshid.errors import InvalidInput, InvalidPolicy, Problem
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy
from meshid.policy.target_form import check_target
from meshid.support.documents import any_document, decoded, is_json
from meshid.support.quoting import quote
from meshid.trust.bundles import TrustBundle
from meshid.trust.revocations import Revocations

MAX_FILE_BYTES = 64 * 1024 * 1024
"""The limit for a policy, too; a revocation list with 100 000 entries has 4 MB."""

# A sequence of more than 127 bytes, as every certificate is (X.690 section 8.1.3.5); no PEM begins so.
_DER_SEQUENCES = (b"\x30\x81", b"\x30\x82", b"\x30\x83")


def read_chain(path: str) -> tuple[bytes, ...]:
    """Return the certificates of a PEM file as DER, leaf first; or the one of a DER file.

    The certificates are not parsed: judging them is the verifier's task.

    Raises:
        NoAnswer: If the file holds anything else.
    """
    data = read_some(path)
    if data.startswith(_DER_SEQUENCES):
        return (data,)
    with errors_named(path):
        return _pem_chain(data)


def read_bundle(trust_domain: TrustDomain, path: str, profile: str) -> TrustBundle:
    """Read a trust bundle, PEM or SPIFFE JSON.

    Raises:
        NoAnswer: If it cannot be used.
    """
    data = read_some(path)
    read = TrustBundle.from_spiffe_json if is_json(data) else TrustBundle.from_pem
    with errors_named(path):
        return read(trust_domain, data, profile=profile)


def read_policy(path: str, environment: str) -> Policy:
    """Read a policy, TOML or JSON.

    Raises:
        NoAnswer: With a line for each error in it.
    """
    file = read_policy_file(path)
    with errors_named(path):
        return file.policy(environment)


def read_policies(path: str, environments: Sequence[str] | None = None) -> list[Policy]:
    """Read a policy for each environment; for all in the file, if *environments* is None.

    Raises:
        NoAnswer: With a line for each error in it.
    """
    file = read_policy_file(path)
    with errors_named(path):
        return file.policies(environments)


@attrs.frozen
class PolicyInput:
    """The text of a policy file, not parsed yet.

    Attributes:
        text: The text, TOML or JSON.
    """

    text: str

    def policy(self, environment: str) -> Policy:
        """Load it for one environment.

        Raises:
            InvalidPolicy: With everything that is wrong in it.
        """
        load = Policy.from_json if is_json(self.text) else Policy.from_toml
        return load(self.text, environment)

    def policies(self, environments: Sequence[str] | None) -> list[Policy]:
        """Load it for each environment; for all in the file, if *environments* is None.

        Raises:
            InvalidPolicy: With everything that is wrong in it, for any of them.
        """
        loaded, problems = [], list[Problem]()
        for environment in environments or self._environments():
            try:
                loaded.append(self.policy(environment))
            except InvalidPolicy as error:
                problems += error.problems
        if problems:
            raise InvalidPolicy(_each_once(problems))
        return loaded

    def _environments(self) -> list[str]:
        document = any_document(self.text)
        tables = document.get("environments") if isinstance(document, dict) else None
        # If there is none, the loader says so, whatever the name.
        return list(tables) if isinstance(tables, dict) and tables else [""]


def read_policy_file(path: str) -> PolicyInput:
    """Read a policy file, but do not load it yet.

    Raises:
        NoAnswer: If it cannot be read.
    """
    data = _bounded(path)
    with errors_named(path):
        return PolicyInput(decoded(data))


def read_revocations(crls: list[str], deny: list[str]) -> Revocations:
    """Read revocation lists, PEM or DER, and the entries of a deny list.

    Raises:
        NoAnswer: If a list cannot be used.
        InvalidRevocations: If an entry is not valid.
    """
    lists = [read_some(path) for path in crls]
    for path, data in zip(crls, lists, strict=True):
        # Each alone first: for all together, the error would only have the number of the list.
        with errors_named(path):
            Revocations(crls=[data])
    return Revocations(crls=lists, deny=deny)


def read_some(path: str) -> bytes:
    """Read a file that is not empty.

    Raises:
        NoAnswer: If it cannot be read, is empty or is too large.
    """
    data = _bounded(path)
    if not data.strip():
        msg = f"{file_name(path)} is empty"
        raise NoAnswer(msg)
    return data


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file to read, or standard input for ``-``.

    Raises:
        NoAnswer: If standard input is closed.
        OSError: If it cannot be opened.
    """
    if path == STDIN:
        if sys.stdin is None:
            msg = "standard input is closed"
            raise NoAnswer(msg)
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield file


def write_whole(path: str, text: str, *, inputs: Collection[str]) -> None:
    """Write a file whole or not at all, and never over one of the *inputs*.

    Raises:
        NoAnswer: If it cannot be written.
    """
    output = Path(path)
    # A device such as /dev/stdout must not be replaced by a file.
    if output.is_symlink() or (output.exists() and not output.is_file()):
        msg = f"{quote(path)} is not a regular file; leave out --output to print"
        raise NoAnswer(msg)
    if output.resolve() in {Path(each).resolve() for each in inputs}:
        msg = f"{quote(path)} is an input file; write to another file"
        raise NoAnswer(msg)
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        beside.write_text(text, "utf-8")
        beside.replace(output)
    except OSError as error:
        msg = f"{quote(path)} cannot be written: {error.strerror}"
        raise NoAnswer(msg) from error
    finally:
        with suppress(OSError):
            beside.unlink()


def _bounded(path: str) -> bytes:
    with errors_named(path), opened(path) as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        msg = f"{file_name(path)} is larger than {MAX_FILE_BYTES} bytes: is it the right file?"
        raise NoAnswer(msg)
    return data


def _pem_chain(data: bytes) -> tuple[bytes, ...]:
    try:
        blocks = pem_blocks(data)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    if not blocks:
        msg = "a chain is PEM certificates, leaf first, or one DER certificate; this is neither"
        raise InvalidInput(msg)
    return tuple(_der(number, *block) for number, block in enumerate(blocks, 1))


def _der(number: int, label: str, block: bytes) -> bytes:
    if label != "CERTIFICATE":
        msg = f"PEM block {number} is {quote(label)}; a chain holds certificates only, leaf first"
        raise InvalidInput(msg)
    try:
        return base64.b64decode(b"".join(block.split(b"-----")[2].split()), validate=True)
    except ValueError as error:
        msg = f"PEM block {number} is not base64"
        raise InvalidInput(msg) from error


def _each_once(problems: list[Problem]) -> tuple[Problem, ...]:
    """Return each problem once, those of one place together."""
    places: dict[str, int] = {}
    for problem in problems:
        places.setdefault(problem.where, len(places))
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: places[problem.where]))


def target_named(text: str) -> str:
    """Return a target, for `ArgumentParser.add_argument`.

    Raises:
        ArgumentTypeError: If it is none.
    """
    try:
        check_target(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text
