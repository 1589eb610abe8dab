"""A certificate without its key: what a thief presents who has only listened."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshid.testing import Issued
from tests.helpers.forged import BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, der

_P256 = bytes.fromhex("06082a8648ce3d030107")


def present_stolen(context: ssl.SSLContext, victim: Issued) -> None:
    """Make *context* present the certificate of *victim*, and sign with a key that is not its own.

    The key file (RFC 5915 section 3) has the number of one key and the point of the other: OpenSSL
    compares the point with the certificate, and signs with the number.
    """
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32, "big")
    key = cast("ec.EllipticCurvePublicKey", victim.certificate.public_key())
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    forged = der(
        SEQUENCE,
        der(INTEGER, b"\x01"),
        der(OCTET_STRING, number),
        der(0xA0, _P256),
        der(0xA1, der(BIT_STRING, b"\0" + point)),
    )
    pem = ssl.DER_cert_to_PEM_cert(forged).replace("CERTIFICATE", "EC PRIVATE KEY")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "stolen.pem")
        file.write_bytes(victim.chain_pem + pem.encode())
        context.load_cert_chain(file)
