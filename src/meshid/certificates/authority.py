"""Why an authority could never verify a peer, said when it is loaded.

A trust anchor is trusted by configuration, but path validation still holds it to
rules (RFC 5280 section 6.1, and what the backend supports). An anchor that breaks
them would refuse every peer, at the first handshake, with a message that does not
say why. For each rule here a test shows that the backend indeed never verifies a
leaf under such an anchor, except for a few where we are stricter: odd serial numbers,
heavy or slightly short RSA keys, directory name constraints that are not critical, and what
would make each handshake dearer.

Not checked: an anchor's own signature and its dates. The signature is not part of
path validation; the dates need a clock and are checked at each verification.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from meshid.certificates.chain import MAX_NAME_CONSTRAINTS
from meshid.certificates.leaf import ANY_PURPOSE, PURPOSE, Profile
from meshid.certificates.reading import extension, key_fault, key_form_fault, public_key_of

MAX_SERIAL_BITS = 8 * 20
"""RFC 5280 section 4.1.2.2: serial numbers are positive and have at most 20 octets."""

_PROCESSED = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.NameConstraints,
)
"""Extensions that may be critical; the X.509 backend refuses all others (RFC 5280 section 4.2)."""

_USABLE_PURPOSES = frozenset({*PURPOSE.values(), ANY_PURPOSE})


def authority_fault(certificate: x509.Certificate, profile: Profile) -> str | None:
    """Say why *certificate* can never verify a leaf of *profile*; None if it can."""
    for check in (_form_fault, _usage_fault, _name_fault, _key_fault, _extension_fault):
        if fault := check(certificate):
            return fault
    return _name_constraint_fault(certificate, profile)


def _form_fault(certificate: x509.Certificate) -> str | None:
    if certificate.version is not x509.Version.v3:
        return "it is not an X.509 version 3 certificate"
    if not 0 < certificate.serial_number.bit_length() <= MAX_SERIAL_BITS or certificate.serial_number < 0:
        return "its serial number is not positive, or longer than 20 octets"
    return None


def _name_fault(certificate: x509.Certificate) -> str | None:
    if not list(certificate.subject):
        return "it has no subject, so no leaf can name it as issuer"
    return None if list(certificate.issuer) else "it has no issuer, which RFC 5280 section 4.1.2.4 requires"


def _key_fault(certificate: x509.Certificate) -> str | None:
    key = public_key_of(certificate)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "its key is Ed25519, which the X.509 backend cannot verify with; use P-256"
    return key_fault(key) or key_form_fault(certificate)


def _usage_fault(certificate: x509.Certificate) -> str | None:
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return "it is not a certificate authority (basic constraints without cA = true)"
    usage = extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        return "its key usage lacks keyCertSign"
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and _USABLE_PURPOSES.isdisjoint(purposes):
        return "its extended key usage names neither clientAuth nor serverAuth"
    return None


def _extension_fault(certificate: x509.Certificate) -> str | None:
    for each in certificate.extensions:
        if each.critical and not isinstance(each.value, _PROCESSED):
            return f"it has a critical extension that is not processed ({each.oid.dotted_string})"
    identifier = extension(certificate, x509.AuthorityKeyIdentifier)
    if identifier is not None and identifier.key_identifier is None:
        return "its authority key identifier has no key identifier, which the X.509 backend requires"
    return None


def _name_constraint_fault(certificate: x509.Certificate, profile: Profile) -> str | None:
    constraints = extension(certificate, x509.NameConstraints)
    if constraints is None:
        return None
    subtrees = [*(constraints.permitted_subtrees or ()), *(constraints.excluded_subtrees or ())]
    if len(subtrees) > MAX_NAME_CONSTRAINTS:
        return (
            f"it has {len(subtrees)} name constraints, and each handshake reads them all;"
            f" at most {MAX_NAME_CONSTRAINTS} are accepted"
        )
    kinds = {type(subtree) for subtree in subtrees}
    if x509.UniformResourceIdentifier in kinds and profile is Profile.SPIFFE:
        return "it has a URI name constraint, which the X.509 backend cannot evaluate"
    if x509.DirectoryName in kinds:
        return "it has a directory name constraint, which the X.509 backend cannot evaluate"
    return None
