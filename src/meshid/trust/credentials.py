"""Our own credentials: an X.509-SVID and its private key."""

from __future__ import annotations

from typing import Self

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from meshid.certificates.leaf import Claim, Profile, check_leaf, read_claim
from meshid.certificates.reading import certificate_from_pem_block, pem_blocks, public_key_of, to_der, to_pem
from meshid.errors import InvalidCredentials, Refused
from meshid.support.quoting import quote

_KEY_LABELS = frozenset({"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"})


@attrs.frozen
class X509Svid:
    """Our own leaf, its intermediates and its private key (X509-SVID section 2).

    The leaf is held to the profile that a peer's leaf is held to. Not checked here
    are its dates, which need a clock, and its authority, which needs a bundle:
    `Mesh` checks both whenever it is given one.

    Attributes:
        leaf: The leaf certificate.
        chain: The certificates that are sent, as DER, leaf first.
        claim: The name in the leaf.
        key: The leaf's private key. Two values with the same chain are equal.
    """

    leaf: x509.Certificate = attrs.field(eq=False, repr=False)
    chain: tuple[bytes, ...] = attrs.field(repr=lambda it: f"<{len(it)}>")
    claim: Claim = attrs.field(eq=False)
    key: PrivateKeyTypes = attrs.field(eq=False, repr=False)

    @classmethod
    def from_pem(cls, cert_chain: bytes, key: bytes | None = None) -> Self:
        """Read the leaf, its intermediates and its unencrypted private key.

        Args:
            cert_chain: PEM certificates, leaf first (RFC 8446 section 4.4.2).
            key: The PEM private key; None if it is in *cert_chain*, too.

        Raises:
            InvalidCredentials: If there is not exactly one key, if it is not the leaf's,
                or if the leaf is not a workload's certificate.
        """
        try:
            certificates, keys = _sorted_blocks(cert_chain if key is None else cert_chain + b"\n" + key)
            leaf, chain = _read_chain(certificates)
            private_key = _read_key(keys)
            claim = _own_claim(leaf)
        except ValueError as error:
            msg = f"own certificate: {error}"
            raise InvalidCredentials(msg) from error
        if private_key.public_key() != public_key_of(leaf):
            msg = (
                f"own certificate: the private key is not that of the first certificate, which is for"
                f" {claim.spiffe_id or claim.path}; is the pair half-written, or the order wrong?"
            )
            raise InvalidCredentials(msg)
        return cls(leaf, chain, claim, private_key)

    def chain_pem(self) -> bytes:
        """Return the chain as PEM certificates, leaf first."""
        return to_pem(self.chain)

    def key_pem(self, encryption: serialization.KeySerializationEncryption | None = None) -> bytes:
        """Return the private key as PKCS #8 PEM (RFC 5958), encrypted if *encryption* says so."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            encryption or serialization.NoEncryption(),
        )


def _sorted_blocks(pem: bytes) -> tuple[list[bytes], list[bytes]]:
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
    return certificates, keys


def _read_chain(blocks: list[bytes]) -> tuple[x509.Certificate, tuple[bytes, ...]]:
    if not blocks:
        msg = "there is no PEM certificate"
        raise ValueError(msg)
    certificates = [certificate_from_pem_block(block) for block in blocks]
    return certificates[0], tuple(to_der(certificate) for certificate in certificates)


def _read_key(blocks: list[bytes]) -> PrivateKeyTypes:
    if len(blocks) != 1:
        msg = f"there must be one PEM private key, not {len(blocks)}"
        raise ValueError(msg)
    try:
        return serialization.load_pem_private_key(blocks[0], password=None)
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
