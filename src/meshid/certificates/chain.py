"""Bytes to chain: what an unknown peer sent, bounded before it costs anything.

A chain is read, and nothing in it is believed. The limits keep the cost of one hostile
chain below that of a few honest ones; each leaves room for what real meshes send.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from meshid.certificates.name_fault import name_fault
from meshid.certificates.reading import (
    extension,
    public_key_of,
    read_certificate,
    read_leaf,
    rsa_is_too_heavy,
    subject_of,
)
from meshid.certificates.rehearsal import Rehearsal
from meshid.errors import Refused
from meshid.reasons import Reason

MAX_LEAF_BYTES = 16 * 1024
"""Real leaves have 0.5 to 2 kB."""

MAX_INTERMEDIATES = 6
"""Real chains have one to three; more would only make the search for a path longer."""

MAX_CHAIN_BYTES = 64 * 1024
"""With more, one hostile chain can keep the backend busy for 0.1 s."""

MAX_NAME_CONSTRAINTS = 64
"""Subtrees in one intermediate; thousands of them hold the interpreter's lock for 0.1 s."""


@attrs.frozen
class Chain:
    """The certificates that a peer presented; nothing about them is verified.

    Attributes:
        leaf: The peer's own certificate.
        intermediates: The other certificates, each once.
        sent: The DER of everything that came with the leaf.
    """

    leaf: x509.Certificate
    intermediates: tuple[x509.Certificate, ...]
    sent: tuple[bytes, ...]


def read_chain(ders: Sequence[bytes], known: Sequence[x509.Certificate] | None = None) -> Chain:
    """Read DER certificates, leaf first, within the limits above.

    Args:
        ders: The certificates.
        known: The intermediates, if they were read before, from the same bytes.

    Raises:
        Refused: If there is no leaf, if a limit is exceeded, or if a certificate cannot be read.
    """
    if not ders:
        raise Refused(Reason.NO_CERTIFICATE, "the peer presented no certificate")
    if len(ders) > 1 + MAX_INTERMEDIATES:
        msg = f"the chain has more than {1 + MAX_INTERMEDIATES} certificates, and no more are read"
        raise Refused(Reason.CHAIN_TOO_LARGE, msg)
    size = sum(map(len, ders))
    if len(ders[0]) > MAX_LEAF_BYTES or size > MAX_CHAIN_BYTES:
        msg = (
            f"the leaf has {len(ders[0])} bytes and the chain {size};"
            f" at most {MAX_LEAF_BYTES} and {MAX_CHAIN_BYTES} are read"
        )
        raise Refused(Reason.CHAIN_TOO_LARGE, msg)
    leaf, sent = _read(0, ders[0]), tuple(ders[1:])
    if known is None:
        read = dict.fromkeys(map(_read, count(1), sent))
        known = [each for each in read if each != leaf and _is_light(each)]
    return Chain(leaf, tuple(each for each in known if each != leaf), sent)


def check_intermediates(ders: Sequence[bytes]) -> None:
    """Check that DER certificates can follow any leaf in a chain.

    Raises:
        Refused: If a certificate cannot be read, or if `read_chain` would refuse a chain of these
            and the largest leaf.
    """
    size, most = sum(map(len, ders)), MAX_CHAIN_BYTES - MAX_LEAF_BYTES
    if len(ders) > MAX_INTERMEDIATES or size > most:
        msg = (
            f"there are {len(ders)} with {size} bytes in all;"
            f" at most {MAX_INTERMEDIATES} with {most} can follow a leaf"
        )
        raise Refused(Reason.CHAIN_TOO_LARGE, msg)
    for number, der in enumerate(ders, 1):
        _is_light(_read(number, der))


def _read(number: int, der: bytes) -> x509.Certificate:
    try:
        certificate = read_certificate(der) if number else read_leaf(der)
    except ValueError as error:
        where = f"intermediate {number}" if number else "the leaf"
        if b"-----BEGIN " in der:
            msg = f"{where} is PEM text, not DER: convert it with ssl.PEM_cert_to_DER_cert()"
            raise Refused(Reason.MALFORMED, msg) from error
        raise Refused(Reason.MALFORMED, f"{where} is {error}") from error
    # OpenSSL reads names in its own way, and a handshake with it would fail without a word about this.
    is_odd = subject_of(certificate) is None or name_fault(der) is not None
    if is_odd and (fault := Rehearsal().fault(certificate)):
        where = f"intermediate {number}" if number else "the leaf"
        raise Refused(Reason.MALFORMED, f"{where} is of no use: {fault}")
    return certificate


def _is_light(intermediate: x509.Certificate) -> bool:
    """Return whether an intermediate costs little; False for a heavy root, which no path needs.

    Raises:
        Refused: If any other intermediate is too heavy.
    """
    fault = _weight_fault(intermediate)
    if fault and intermediate.subject != intermediate.issuer:
        raise Refused(Reason.CHAIN_TOO_LARGE, f"an intermediate has {fault}")
    return fault is None


def _weight_fault(intermediate: x509.Certificate) -> str | None:
    key = public_key_of(intermediate)
    if isinstance(key, rsa.RSAPublicKey) and rsa_is_too_heavy(key):
        return f"an RSA key of {key.key_size} bits, or with a huge exponent"
    constraints = extension(intermediate, x509.NameConstraints)
    if constraints is None:
        return None
    subtrees = len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
    if subtrees > MAX_NAME_CONSTRAINTS:
        return f"{subtrees} name constraints; at most {MAX_NAME_CONSTRAINTS} are read"
    return None
