"""Vectors of others: NIST's Public Key Interoperability Test Suite (PKITS, 2011), in a table of agreement.

The chains come with `cryptography-vectors`. Their leaves name nobody in a way that a profile
reads, so `ChainVerifier.verify` would refuse each of them for that. What is judged is what
comes before and after the name: `read_chain`, the dates, the path, and the revocations. The few leaves
with one DNS name go all the way, with the profile dns.

Not here: the tests of section 4.8, whose verdicts depend on an initial set of certificate
policies (their names say neither valid nor invalid).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import attrs
import pytest
from cryptography import x509

from meshid.certificates.chain import read_chain
from meshid.certificates.leaf import Role
from meshid.certificates.reading import read_certificate, to_der
from meshid.errors import PeerRejected, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.crl import read_list_file
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import ChainVerifier, _check_dates

NOW = datetime(2020, 1, 1, tzinfo=UTC)
"""The certificates are valid from 2010 to 2030."""

DATA = files("cryptography_vectors").joinpath("x509", "PKITS_data")
ROOT = DATA.joinpath("certs", "TrustAnchorRootCertificate.crt").read_bytes()
NAMED = re.compile(r"(Valid|Invalid)(\w+)EE\.crt")
NOBODY = SpiffeId.parse("spiffe://pkits.example/nobody")

POLICIES = "certificate policies are not processed: a critical extension about them is an unknown one"
DIRECTORY_NAMES = "the backend does not evaluate name constraints on directory names (nor must it: 4.2.1.10)"
NAMES_AS_WRITTEN = "names are compared as they are written; RFC 5280 section 7.1 allows case and white space"
PATH_LENGTH = "the backend counts self-issued certificates in a path length constraint (6.1.4 (l) does not)"
STRICTER = {
    POLICIES: """
        PolicyMappingTest1 PolicyMappingTest3 PolicyMappingTest5 PolicyMappingTest6 PolicyMappingTest9
        PolicyMappingTest11 PolicyMappingTest12 PolicyMappingTest13 PolicyMappingTest14
        SelfIssuedinhibitAnyPolicyTest7 SelfIssuedinhibitAnyPolicyTest9
        SelfIssuedinhibitPolicyMappingTest7 SelfIssuedrequireExplicitPolicyTest6
        inhibitAnyPolicyTest2 inhibitPolicyMappingTest2 inhibitPolicyMappingTest4
        requireExplicitPolicyTest1 requireExplicitPolicyTest2 requireExplicitPolicyTest4
    """,
    DIRECTORY_NAMES: """
        DNandRFC822nameConstraintsTest27 DNnameConstraintsTest1 DNnameConstraintsTest4
        DNnameConstraintsTest5 DNnameConstraintsTest6 DNnameConstraintsTest11 DNnameConstraintsTest14
        DNnameConstraintsTest18 DNnameConstraintsTest19
    """,
    "the backend does not evaluate name constraints on URIs": """
        URInameConstraintsTest34 URInameConstraintsTest36
    """,
    NAMES_AS_WRITTEN: """
        NameChainingCapitalizationTest5 NameChainingWhitespaceTest3 NameChainingWhitespaceTest4
        RolloverfromPrintableStringtoUTF8StringTest10 UTF8StringCaseInsensitiveMatchTest11
    """,
    PATH_LENGTH: "SelfIssuedpathLenConstraintTest15 SelfIssuedpathLenConstraintTest17",
    "DSA is not accepted": "DSASignaturesTest4 DSAParameterInheritanceTest5",
    "a GeneralizedTime before 2050 breaks RFC 5280 section 4.1.2.5": "GeneralizedTimenotBeforeDateTest4",
    "a list that some other key has signed, or that is of another issuer, is undetermined": """
        BasicSelfIssuedOldWithNewTest1 SeparateCertificateandCRLKeysTest19 IDPwithindirectCRLTest22
        cRLIssuerTest28
    """,
    "a list for some reasons, or for a relative distribution point, is undetermined": """
        distributionPointTest5 distributionPointTest7 onlySomeReasonsTest18 onlySomeReasonsTest19
    """,
    "delta lists are not applied, so what one takes off hold stays revoked": "deltaCRLTest5",
}
"""What PKITS accepts and meshid refuses: nobody gets in because of these."""

NO_LIST = "an issuer without a list has revoked nothing: which lists there must be is for whoever loads them"
LOOSER = {
    NO_LIST: """
        MissingCRLTest1 BadCRLIssuerNameTest5 WrongCRLTest6 IDPwithindirectCRLTest26 cRLIssuerTest27
        cRLIssuerTest31 cRLIssuerTest32 onlyContainsUserCertsTest11 onlyContainsCACertsTest12
    """,
    "beside a list that counts, one of another key of the same name is not missed": """
        BasicSelfIssuedNewWithOldTest5 BasicSelfIssuedCRLSigningKeyTest7
    """,
    "delta lists are not applied; they only alarm": "deltaCRLTest4",
}
"""What PKITS refuses and meshid accepts: all of it is about revocation lists."""


@attrs.frozen
class Vector:
    """A leaf of PKITS.

    Attributes:
        name: The name of the test.
        is_valid: The verdict of PKITS.
        leaf: The leaf, as DER.
    """

    name: str
    is_valid: bool
    leaf: bytes


def vectors() -> Iterator[Vector]:
    for each in DATA.joinpath("certs").iterdir():
        if match := NAMED.fullmatch(each.name):
            yield Vector(match[2], match[1] == "Valid", each.read_bytes())


VECTORS = sorted(vectors(), key=lambda vector: (vector.name, vector.is_valid))


def loosely(name: x509.Name) -> str:
    """Return a name as PKITS compares it, so that no chain is incomplete because of how we do."""
    return " ".join(name.rfc4514_string().lower().replace("\\", "").split()).replace(" ,", ",")


@cache
def authorities() -> dict[str, list[x509.Certificate]]:
    found = defaultdict(list)
    for each in DATA.joinpath("certs").iterdir():
        if each.name.endswith(".crt") and not each.name.endswith("EE.crt"):
            try:
                certificate = read_certificate(each.read_bytes())
            except ValueError:
                continue  # One has a DSA key without parameters.
            found[loosely(certificate.subject)].append(certificate)
    return dict(found)


@cache
def lists() -> dict[str, list[tuple[str, bytes]]]:
    found = defaultdict(list)
    for each in DATA.joinpath("crls").iterdir():
        if each.name.endswith(".crl"):
            data = each.read_bytes()
            found[loosely(x509.load_der_x509_crl(data).issuer)].append((each.name, data))
    return dict(found)


def chain_above(leaf: bytes) -> tuple[bytes, ...]:
    """Return the chain as a peer would send it, with all that PKITS has for it."""
    try:
        steps = [read_certificate(leaf)]
    except ValueError:
        return (leaf,)
    for step in steps:
        steps += [each for each in authorities().get(loosely(step.issuer), ()) if each not in steps]
    return tuple(to_der(each) for each in steps if to_der(each) != ROOT)


def revocations_above(chain: tuple[bytes, ...]) -> Revocations:
    issuers = {loosely(x509.load_der_x509_certificate(each).issuer) for each in chain}
    read = [read_list_file(name, data) for issuer in issuers for name, data in lists().get(issuer, ())]
    return Revocations(
        crls=[each for good, _ in read for each in good],
        undetermined=tuple(each for _, bad in read for each in bad),
    )


def accepts(vector: Vector, profile: str = "spiffe") -> bool:
    bundle = TrustBundle.from_der("pkits.example", [ROOT], profile=profile)
    chain = chain_above(vector.leaf)
    try:
        read = read_chain(chain)
        revocations = revocations_above(chain)
        verifier = ChainVerifier(BundleSet([bundle]), revocations=revocations, clock=NOW.timestamp)
        if profile == "dns":
            verifier.verify(chain)
        else:
            _check_dates(read.leaf, NOW, grace=0.0)
            path = verifier._build_path(bundle, Role.CLIENT, read, NOW)  # noqa: SLF001 - see the top
            revocations.check(NOBODY, path, NOW)
    except (Refused, PeerRejected):
        return False
    return True


def differences(table: dict[str, str], *, is_valid: bool) -> dict[tuple[str, bool], str]:
    return {(name, is_valid): reason for reason, names in table.items() for name in names.split()}


DIFFERENCES = differences(STRICTER, is_valid=True) | differences(LOOSER, is_valid=False)


# One has a negative serial number, which the backend accepts with a warning, and so do we.
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector.name}-{vector.is_valid}")
def test_a_vector_gets_the_verdict_of_pkits_or_there_is_a_reason(vector: Vector) -> None:
    reason = DIFFERENCES.get((vector.name, vector.is_valid))
    assert accepts(vector) is (vector.is_valid if reason is None else not vector.is_valid)


def test_each_difference_is_one_of_a_vector() -> None:
    known = {(vector.name, vector.is_valid) for vector in VECTORS}
    assert DIFFERENCES.keys() <= known
    assert (len(known), len(DIFFERENCES)) == (203, 61)


@pytest.mark.parametrize("number", [30, 31, 32, 33, 38])
def test_a_leaf_with_a_dns_name_goes_all_the_way(number: int) -> None:
    (vector,) = (each for each in VECTORS if each.name == f"DNSnameConstraintsTest{number}")
    assert accepts(vector, profile="dns") is vector.is_valid
