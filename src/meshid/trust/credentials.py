"""Our own credentials: an X.509-SVID and its private key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Self

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from meshid.certificates.leaf import Claim, Profile, check_leaf, read_claim
from meshid.certificates.reading import (
    certificate_from_pem_block,
    pem_blocks,
    public_key_of,
    read_certificate,
    to_der,
    to_pem,
)
from meshid.errors import InvalidCredentials, Refused
from meshid.support.quoting import quote

_KEY_LABELS = frozenset({"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"})


@attrs.frozen
class X509Svid:
    """Our own leaf, its intermediates and its private key (X509-SVID section 2).

    The leaf must pass the same profile checks as a peer's leaf. Its dates, which need a
    clock, and its authority, which needs a bundle, are not checked here: `Mesh` checks both
    when it is given credentials. Two values with the same chain are equal.

    Attributes:
        leaf: The leaf certificate.
        chain: The certificates that are sent, as DER, leaf first.
        claim: The name in the leaf.
        key: The leaf's private key.
    """

    leaf: x509.Certificate = attrs.field(eq=False, repr=False)
    chain: tuple[bytes, ...] = attrs.field(repr=lambda it: f"<{len(it)}>")
    claim: Claim = attrs.field(eq=False)
    key: PrivateKeyTypes = attrs.field(eq=False, repr=False)

    @classmethod
    def from_pem(cls, cert_chain: bytes, key: bytes | None = None) -> Self:
        """Read the leaf, its intermediates and its unencrypted private key from PEM.

        Args:
            cert_chain: PEM certificates, leaf first (RFC 8446 section 4.4.2).
            key: The PEM private key; None if it is in *cert_chain*, too.

        Returns:
            The credentials.

        Raises:
            InvalidCredentials: If there is not exactly one key, if it is not the leaf's,
                or if the leaf is not a workload's certificate.
        """
        try:
            blocks, key_block = _sorted_blocks(cert_chain if key is None else cert_chain + b"\n" + key)
            certificates = [certificate_from_pem_block(block) for block in blocks]
            return cls._of(certificates, _read_key(serialization.load_pem_private_key, key_block))
        except ValueError as error:
            raise _unusable(error) from error

    @classmethod
    def from_der(cls, chain: Iterable[bytes], key: bytes) -> Self:
        """Read the leaf, its intermediates and its unencrypted private key from DER.

        Args:
            chain: DER certificates, leaf first (RFC 8446 section 4.4.2).
            key: The private key as PKCS #8 (RFC 5958).

        Returns:
            The credentials.

        Raises:
            InvalidCredentials: If the key is not the leaf's, or if the leaf is not a workload's
                certificate.
        """
        try:
            certificates = [read_certificate(der) for der in chain]
            return cls._of(certificates, _read_key(serialization.load_der_private_key, key))
        except ValueError as error:
            raise _unusable(error) from error

    @classmethod
    def _of(cls, certificates: Sequence[x509.Certificate], key: PrivateKeyTypes) -> Self:
        if not certificates:
            msg = "there is no certificate"
            raise ValueError(msg)
        leaf = certificates[0]
        claim = _own_claim(leaf)
        if key.public_key() != public_key_of(leaf):
            msg = (
                f"the private key is not that of the first certificate, which is for"
                f" {claim.spiffe_id or claim.path}; is the pair half-written, or the order wrong?"
            )
            raise ValueError(msg)
        return cls(leaf, tuple(map(to_der, certificates)), claim, key)

    def chain_pem(self) -> bytes:
        """Return the chain as PEM certificates, leaf first."""
        return to_pem(self.chain)

    def key_pem(self, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
        """Return the private key as PKCS #8 PEM (RFC 5958).

        Args:
            encryption: How to encrypt it; not at all if None.

        Returns:
            The PEM text.
        """
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            encryption or serialization.NoEncryption(),
        )


def _unusable(error: ValueError) -> InvalidCredentials:
    return InvalidCredentials(f"own certificate: {error}")


def _sorted_blocks(pem: bytes) -> tuple[list[bytes], bytes]:
    certificates: list[bytes] = []
    keys: list[bytes] = []
    for label, block in pem_blocks(pem):
        if label == "CERTIFICATE":
            certificates.append(block)
        elif label in _KEY_LABELS:
            keys.append(block)
        elif label != "EC PARAMETERS":
            msg = f"a PEM block {quote(label)} does not belong here"
            raise ValueError(msg)
    if not certificates:
        msg = "there is no PEM certificate"
        raise ValueError(msg)
    if len(keys) != 1:
        msg = f"there must be one PEM private key, not {len(keys)}"
        raise ValueError(msg)
    return certificates, keys[0]


def _read_key(load: Callable[[bytes, None], PrivateKeyTypes], key: bytes) -> PrivateKeyTypes:
    try:
        return load(key, None)
    except TypeError as error:
        msg = "the private key is encrypted; meshid reads unencrypted keys"
        raise ValueError(msg) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"the private key cannot be read: {quote(str(error))}"
        raise ValueError(msg) from error


def _own_claim(leaf: x509.Certificate) -> Claim:
    try:
        claim = read_claim(leaf, declared=frozenset(Profile))
        check_leaf(leaf)
    except Refused as refusal:
        raise ValueError(refusal.decision().sentence) from refusal
    return claim
