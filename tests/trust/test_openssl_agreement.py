"""What `openssl verify -crl_check` says of a revocation list, what meshid says, and why they differ."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import attrs
import pytest
from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from meshid.errors import PeerRejected
from meshid.reasons import Reason
from meshid.testing import CA, Issued
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.crl import read_list_file
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import ChainVerifier
from tests.helpers.forged import issuing_point, pem
from tests.helpers.lists import ANOTHER, CN, NOW, ORG, URL, UTF8, at, built, renamed, with_point
from tests.helpers.world import HOUR, PATH, called

ROOT = CA("prod.example.org", subject="CN=Mesh Root,O=Example")
LEAF = ROOT.issue(PATH)
OTHER = ROOT.issue(PATH)


def verdict_of_openssl(directory: Path, crls: tuple[bytes, ...], leaf: Issued, *authorities: CA) -> str:
    """Return what `openssl verify -crl_check` says: OK, or its error."""
    files = {"ca.pem": b"".join(each.pem for each in authorities), "leaf.pem": leaf.chain_pem}
    files["crl.pem"] = b"".join(pem("X509 CRL", each) for each in crls)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    command = ["openssl", "verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "crl.pem", "leaf.pem"]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    errors = re.findall(r"error \d+ at \d+ depth lookup: (.*)", ran.stderr)
    return errors[0] if errors else ran.stdout.strip().rpartition(": ")[2]


RENEWED = CA("prod.example.org", subject=called(ROOT))
UNABLE = CA("prod.example.org", usages={"key_cert_sign"})
OK = "OK"
DELTA = ((x509.DeltaCRLIndicator(1), True), (x509.CRLNumber(2), False))
INDIRECT = ((issuing_point(indirect_crl=True), True),)
UNKNOWN = ((x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True),)
LEAFS = ((issuing_point(only_contains_user_certs=True), True),)


@attrs.frozen
class Shared:
    """One list, what each says about one certificate, and why if they differ."""

    crls: tuple[bytes, ...]
    openssl: str
    ours: Reason | None
    leaf: Issued = LEAF
    authorities: tuple[CA, ...] = (ROOT,)
    why: str = ""


AGREEMENT = {
    "revoked": Shared((built(ROOT, LEAF),), "certificate revoked", Reason.REVOKED),
    "not revoked": Shared((built(ROOT, OTHER),), OK, None),
    "overdue": Shared((built(ROOT, until=NOW - HOUR / 2),), "CRL has expired", Reason.CRL_NOT_IN_DATE),
    "overdue beside one in date": Shared((built(ROOT, until=NOW - HOUR / 2), built(ROOT)), OK, None),
    "another case": Shared(
        (built(ROOT, LEAF, name=renamed((ORG, "EXAMPLE", UTF8), (CN, "mesh root", UTF8))),),
        "certificate revoked",
        Reason.REVOKED,
    ),
    "broken signature": Shared(
        (built(ROOT, key=CA("x").key),), "CRL signature failure", Reason.REVOCATION_UNDETERMINED
    ),
    "no cRLSign": Shared(
        (built(UNABLE),),
        "key usage does not include CRL signing",
        Reason.REVOCATION_UNDETERMINED,
        leaf=UNABLE.issue(PATH),
        authorities=(UNABLE,),
    ),
    "delta only": Shared(
        (built(ROOT, extra=DELTA),),
        OK,
        Reason.REVOCATION_UNDETERMINED,
        why="OpenSSL takes it for a complete one",
    ),
    "indirect": Shared(
        (built(ROOT, extra=INDIRECT),), "unable to get certificate CRL", Reason.REVOCATION_UNDETERMINED
    ),
    "unknown critical extension": Shared(
        (built(ROOT, extra=UNKNOWN),), "unhandled critical CRL extension", Reason.REVOCATION_UNDETERMINED
    ),
    "leafs only": Shared((built(ROOT, LEAF, extra=LEAFS),), "certificate revoked", Reason.REVOKED),
    "with the distribution point of the leaf": Shared(
        (built(ROOT, extra=at(URL)),), OK, None, leaf=with_point(ROOT, URL)
    ),
    "with another distribution point": Shared(
        (built(ROOT, extra=at(URL)),),
        "different CRL scope",
        Reason.REVOCATION_UNDETERMINED,
        leaf=with_point(ROOT, ANOTHER),
    ),
    "with a distribution point, and the leaf has none": Shared(
        (built(ROOT, extra=at(URL)),),
        "different CRL scope",
        None,
        why="step-ca writes the name of a point into its list, and none into its leafs",
    ),
    "of the renewed key, which revokes": Shared(
        (built(ROOT, LEAF, key=RENEWED.key),),
        "CRL signature failure",
        Reason.REVOKED,
        authorities=(ROOT, RENEWED),
    ),
    "of the renewed key": Shared(
        (built(ROOT, key=RENEWED.key),),
        "CRL signature failure",
        None,
        authorities=(ROOT, RENEWED),
        why="RFC 5280 section 6.3.3 (f) asks for the name of the issuer, and not for its key",
    ),
    "no list": Shared(
        (built(CA("x")),), "unable to get certificate CRL", None, why="meshid needs no list of an issuer"
    ),
}


@pytest.mark.parametrize("case", AGREEMENT.values(), ids=AGREEMENT)
def test_openssl_and_meshid_say(case: Shared, tmp_path: Path) -> None:
    assert verdict_of_openssl(tmp_path, case.crls, case.leaf, *case.authorities) == case.openssl
    assert reason_of(case) is case.ours
    # A difference has a reason.
    assert ((case.openssl == OK) is (case.ours is None)) is (not case.why)


def reason_of(case: Shared) -> Reason | None:
    lists = [read_list_file("a list", crl) for crl in case.crls]
    revocations = Revocations(
        crls=[each for good, _ in lists for each in good],
        undetermined=[each for _, bad in lists for each in bad],
    )
    pems = b"".join(each.pem for each in case.authorities)
    bundles = BundleSet([TrustBundle.from_pem("prod.example.org", pems)])
    try:
        ChainVerifier(bundles, revocations=revocations).verify(case.leaf.chain)
    except PeerRejected as refusal:
        return refusal.reason
    return None
