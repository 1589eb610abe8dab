"""Files to values, each fault with the name of its file."""

from __future__ import annotations

import base64
from pathlib import Path

from meshid.bundles import TrustBundle
from meshid.certificates import pem_blocks
from meshid.cli.faults import CannotJudge, naming
from meshid.errors import InvalidInput
from meshid.names import TrustDomain
from meshid.policy import Policy
from meshid.revocation import Revocations
from meshid.text import quote

MAX_FILE_BYTES = 64 * 1024 * 1024
"""As large as a policy may be; a revocation list with 100 000 entries has 4 MB."""

# A sequence of more than 127 bytes, as each certificate is (X.690 section 8.1.3.5); no text begins so.
_DER_SEQUENCES = (b"\x30\x81", b"\x30\x82", b"\x30\x83")


def read_chain(path: str) -> tuple[bytes, ...]:
    """Return the certificates of a PEM file as DER, leaf first; or the one of a DER file.

    What is in the certificates is not looked at: that is the verifier's to judge.

    Raises:
        CannotJudge: If the file holds anything else.
    """
    data = _read(path)
    if data.startswith(_DER_SEQUENCES):
        return (data,)
    with naming(path):
        return _pem_chain(data)


def read_bundle(trust_domain: TrustDomain, path: str, profile: str) -> TrustBundle:
    """Read a trust bundle, PEM or SPIFFE JSON.

    Raises:
        CannotJudge: If it cannot be used.
    """
    data = _read(path)
    read = TrustBundle.from_spiffe_json if _is_json(data) else TrustBundle.from_pem
    with naming(path):
        return read(trust_domain, data, profile=profile)


def read_policy(path: str, environment: str) -> Policy:
    """Read a policy, TOML or JSON.

    Raises:
        CannotJudge: With a line for each mistake in it.
    """
    data = _read(path)
    with naming(path):
        if _is_json(data):
            return Policy.from_json(data, environment)
        return Policy.from_toml(_utf8(data), environment)


def read_revocations(crls: list[str], deny: list[str]) -> Revocations:
    """Read revocation lists, PEM or DER, and the entries of a deny list.

    Raises:
        CannotJudge: If a list cannot be used.
        InvalidRevocations: If an entry is none.
    """
    lists = [_read(path) for path in crls]
    for path, data in zip(crls, lists, strict=True):
        # Each alone first: of all together, only a number would tell which one is wrong.
        with naming(path):
            Revocations(crls=[data])
    return Revocations(crls=lists, deny=deny)


def _read(path: str) -> bytes:
    with naming(path), Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if not data.strip():
        msg = f"{quote(path)} is empty"
        raise CannotJudge(msg)
    if len(data) > MAX_FILE_BYTES:
        msg = f"{quote(path)} is larger than {MAX_FILE_BYTES} bytes: is it the right file?"
        raise CannotJudge(msg)
    return data


def _is_json(data: bytes) -> bool:
    return data.lstrip().startswith(b"{")


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"it is not UTF-8, at byte {error.start}"
        raise InvalidInput(msg) from error


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
