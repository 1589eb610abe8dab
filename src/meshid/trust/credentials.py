"""Our own credentials: an X.509-SVID and its private key.

What reports an error often shows the local variables of each function that the error has passed.
So an error here passes no function that has a private key in one; see `_attempt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, Self, TypeVar

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from meshid.certificates.leaf import Claim, Profile, check_leaf, read_claim
from meshid.certificates.pem import decoded, pem_blocks
from meshid.certificates.reading import (
    key_form_fault,
    public_key_of,
    read_certificate,
    read_leaf,
    subject_of,
    to_der,
    to_pem,
)
from meshid.errors import InvalidCredentials, Refused
from meshid.support.quoting import quote
from meshid.support.types import check_type

_P = ParamSpec("_P")
_T = TypeVar("_T")

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
            InvalidCredentials: If there is not exactly one key, if it is not the leaf's, or if
                the leaf is not a workload's certificate; the error does not lead to the key.
            TypeError: If one of them is not bytes.
        """
        made = _attempt(cls._read_pem, cert_chain, key)
        del cert_chain, key
        if isinstance(made, Exception):
            raise made
        return made

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
                certificate; the error does not lead to the key.
            TypeError: If one of them is not bytes.
        """
        made = _attempt(cls._read_der, chain, key)
        del chain, key
        if isinstance(made, Exception):
            raise made
        return made

    @classmethod
    def _read_pem(cls, cert_chain: bytes, key: bytes | None) -> Self:
        right = "PEM as bytes, such as Path(...).read_bytes()"
        check_type(type(cert_chain), bytes, "cert_chain", right)
        if key is None:
            certificates, keys = _sorted_blocks(cert_chain)
        else:
            check_type(type(key), bytes, "key", right)
            certificates, keys = _of_two_texts(cert_chain, key)
        if not certificates:
            msg = "there is no PEM certificate"
            raise ValueError(msg)
        if len(keys) != 1:
            msg = f"there must be one PEM private key, not {len(keys)}"
            raise ValueError(msg)
        private = _read_key(serialization.load_pem_private_key, keys[0])
        return cls._of(_read_chain(map(decoded, certificates)), private)

    @classmethod
    def _read_der(cls, chain: Iterable[bytes], key: bytes) -> Self:
        check_type(type(chain), Iterable, "chain", "a list of DER certificates")
        ders = tuple(chain)
        for each in ders:
            check_type(type(each), bytes, "each certificate of the chain", "DER as bytes")
        check_type(type(key), bytes, "key", "a PKCS #8 key in DER as bytes")
        return cls._of(_read_chain(ders), _read_key(serialization.load_der_private_key, key))

    @classmethod
    def _of(cls, certificates: Sequence[x509.Certificate], key: PrivateKeyTypes) -> Self:
        if not certificates:
            msg = "there is no certificate"
            raise ValueError(msg)
        _check_order(certificates, key)
        leaf = certificates[0]
        if fault := key_form_fault(leaf):
            raise ValueError(fault)
        return cls(leaf, tuple(map(to_der, certificates)), _own_claim(leaf), key)

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


def _attempt(make: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | Exception:
    """Return what *make* makes; in place of its error, a new one that has passed no function yet."""
    try:
        return make(*args, **kwargs)
    except TypeError as error:
        return TypeError(str(error))
    except ValueError as error:
        return InvalidCredentials(f"own certificate: {error}")


def _sorted_blocks(pem: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the blocks of the certificates, and those of the private keys."""
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


def _of_two_texts(cert_chain: bytes, key: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the blocks of the certificates in one text, and those of the private keys in the other."""
    certificates, stray_keys = _named("the certificate chain", cert_chain)
    stray_certificates, keys = _named("the private key", key)
    if stray_keys and stray_certificates and not certificates and not keys:
        msg = "the certificate chain and the private key are swapped: each is in the other's place"
        raise ValueError(msg)
    if stray_keys:
        msg = "a private key is in the place of the certificate chain, or in the same text"
        raise ValueError(msg)
    if stray_certificates:
        msg = "a certificate is in the place of the private key, or in the same text"
        raise ValueError(msg)
    return certificates, keys


def _named(what: str, pem: bytes) -> tuple[list[bytes], list[bytes]]:
    try:
        return _sorted_blocks(pem)
    except ValueError as error:
        msg = f"{what}: {error}"
        raise ValueError(msg) from error


def _read_chain(ders: Iterable[bytes]) -> list[x509.Certificate]:
    return [read_certificate(der) if number else read_leaf(der) for number, der in enumerate(ders)]


def _read_key(load: Callable[[bytes, None], PrivateKeyTypes], key: bytes) -> PrivateKeyTypes:
    try:
        return load(key, None)
    except TypeError as error:
        msg = "the private key is encrypted; meshid reads unencrypted keys"
        raise ValueError(msg) from error
    except UnsupportedAlgorithm as error:
        msg = "the private key is of a kind that is not supported; use P-256"
        raise ValueError(msg) from error
    except ValueError as error:
        # What the backend says is for its developers, and about the content of the key.
        msg = "the private key cannot be read: it is damaged, or not in the form that it says"
        raise ValueError(msg) from error


def _check_order(certificates: Sequence[x509.Certificate], key: PrivateKeyTypes) -> None:
    """Check that the private key is that of the first certificate."""
    public = key.public_key()
    owners = [number for number, each in enumerate(certificates, 1) if public_key_of(each) == public]
    if not owners:
        msg = (
            f"the private key is not that of the first certificate, which is for {_called(certificates[0])},"
            f" and not that of another one; is the pair half-written?"
        )
        raise ValueError(msg)
    if owners[0] > 1:
        leaf = certificates[owners[0] - 1]
        msg = (
            f"the order is wrong: the private key is that of certificate {owners[0]}, {_called(leaf)},"
            f" which is the leaf and must come first"
        )
        raise ValueError(msg)


def _called(certificate: x509.Certificate) -> str:
    try:
        claim = read_claim(certificate, declared=frozenset(Profile))
    except Refused:
        subject = subject_of(certificate)
        return "nobody" if subject is None else quote(subject.rfc4514_string())
    return str(claim.spiffe_id or claim.path)


def _own_claim(leaf: x509.Certificate) -> Claim:
    try:
        claim = read_claim(leaf, declared=frozenset(Profile))
        check_leaf(leaf)
    except Refused as refusal:
        raise ValueError(refusal.decision().sentence) from refusal
    return claim
