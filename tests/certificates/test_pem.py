"""PEM to blocks: in one pass, and each way in which such files go wrong has its own message."""

from __future__ import annotations

import base64
import time

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.pem import MAX_BLOCKS, decoded, pem_blocks
from meshid.certificates.reading import certificate_from_pem_block, to_der, to_pem
from meshid.testing import CA
from tests.helpers.forged import damaged, pem

AUTHORITY = CA("prod.example.org")
LEAF = AUTHORITY.issue("/ns/pay/sa/api", dns=["api.svc"], subject="CN=api")
DER = LEAF.chain[0]
PEM = LEAF.chain_pem


def test_certificates_go_to_pem_and_back() -> None:
    ders = (DER, to_der(AUTHORITY.certificate))
    blocks = pem_blocks(to_pem(ders))
    assert [label for label, _ in blocks] == ["CERTIFICATE", "CERTIFICATE"]
    assert tuple(to_der(certificate_from_pem_block(block)) for _, block in blocks) == ders


def test_pem_is_what_other_programs_read() -> None:
    assert to_der(x509.load_pem_x509_certificate(PEM)) == DER


def test_pem_has_lines_of_64_characters() -> None:
    """RFC 7468 section 2: "each line consists of exactly 64 characters except for the final line"."""
    for block in (PEM, to_pem([DER])):
        *full, last = block.splitlines()[1:-1]
        assert {len(line) for line in full} == {64}
        assert 0 < len(last) <= 64


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"# a comment\n" + PEM + b"trailing words\n", id="words around it"),
        pytest.param(PEM.replace(b"\n", b"\r\n"), id="Windows line ends"),
        pytest.param(PEM.replace(b"\n", b""), id="no line ends"),
        pytest.param(PEM.rstrip(), id="no line end at the end"),
    ],
)
def test_pem_is_read_as_it_is_found(text: bytes) -> None:
    ((label, block),) = pem_blocks(text)
    assert label == "CERTIFICATE"
    assert to_der(certificate_from_pem_block(block)) == DER


def test_blocks_keep_their_labels_and_their_order() -> None:
    text = b"-----BEGIN A B-----\nAA==\n-----END A B-----\n-----BEGIN C1-----\n-----END C1-----\n"
    assert [label for label, _ in pem_blocks(text)] == ["A B", "C1"]


def test_a_text_without_blocks_has_none() -> None:
    assert pem_blocks(b"nothing here") == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PEM[:-20], id="cut off in its last line"),
        pytest.param(PEM[:200], id="cut off in the middle"),
        pytest.param(PEM + PEM[:200], id="the second cut off"),
        pytest.param(PEM[:200] + PEM, id="the first cut off"),
        pytest.param(PEM.replace(b"END CERTIFICATE", b"END KEY"), id="another end"),
        pytest.param(PEM.replace(b"CERTIFICATE", b"certificate"), id="lower-case label"),
        pytest.param(PEM.replace(b"CERTIFICATE", b"C" * 65), id="a label without end"),
        pytest.param(PEM[30:] + PEM, id="the beginning of the first cut off"),
        pytest.param(PEM + PEM[30:], id="the beginning of the second cut off"),
    ],
)
def test_a_block_without_its_beginning_or_its_end_is_noticed(text: bytes) -> None:
    with pytest.raises(ValueError, match="the text was cut off or mixed up"):
        pem_blocks(text)


@pytest.mark.parametrize("body", [b"!", b"A", b"AAAA=AAA", "ä".encode(), b"AA\0AA"])
def test_a_block_that_is_not_base64_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="a PEM block is not base64"):
        certificate_from_pem_block(b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----")


def test_a_block_that_holds_something_else_is_refused() -> None:
    body = base64.b64encode(b"something else")
    with pytest.raises(ValueError, match="not a certificate that can be read"):
        certificate_from_pem_block(b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----")


def test_the_block_that_is_damaged_is_named() -> None:
    with pytest.raises(ValueError, match=r"^PEM block 2 \(X509 CRL\) begins and does not end"):
        pem_blocks(PEM + AUTHORITY.crl()[:-9] + PEM)


@pytest.mark.parametrize("end", [b"\\n", b"\\r\\n"], ids=ascii)
def test_a_literal_line_feed_is_named(end: bytes) -> None:
    """A variable whose value was never unescaped: a backslash and an n in place of each line feed."""
    with pytest.raises(
        ValueError,
        match=r"^PEM block 1 \(CERTIFICATE\) has the two characters \\n where its lines should end",
    ):
        pem_blocks(PEM.replace(b"\n", end))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(encoding: str) -> None:
    with pytest.raises(ValueError, match="the text is UTF-16, as PowerShell's > writes it; save it as UTF-8"):
        pem_blocks(PEM.decode().encode(encoding))


def test_a_byte_order_mark_of_utf_8_does_no_harm() -> None:
    ((label, block),) = pem_blocks(b"\xef\xbb\xbf" + PEM)
    assert (label, decoded(block)) == ("CERTIFICATE", DER)


def test_the_number_of_blocks_is_bounded() -> None:
    assert len(pem_blocks(pem("A", b"") * MAX_BLOCKS)) == MAX_BLOCKS
    with pytest.raises(ValueError, match=f"it has more than {MAX_BLOCKS} PEM blocks"):
        pem_blocks(pem("A", b"") * (MAX_BLOCKS + 1))


@pytest.mark.parametrize(
    "part",
    [
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN ",
        b"-----END CERTIFICATE-----\n",
        b"-----",
        b"-----BEGIN A-----\n-----END A-----\n",
        b"-----BEGIN A-----\n-----END B-----\n",
        b"-",
        b"A\n",
    ],
    ids=ascii,
)
def test_the_time_to_read_a_text_does_not_grow_with_the_square_of_its_size(part: bytes) -> None:
    # 144 kB of the first line took 31 s, which is 7 hours for this text.
    text = b"-----BEGIN CERTIFICATE-----\n" + part * (4 * 1024 * 1024 // len(part))
    start = time.perf_counter()
    with pytest.raises(ValueError, match="PEM block"):
        pem_blocks(text)
    assert time.perf_counter() - start < 2


labels = st.sampled_from(["CERTIFICATE", "X509 CRL", "PRIVATE KEY", "A", "A B C"])


@given(
    st.lists(st.tuples(labels, st.binary(max_size=200))), st.sampled_from([b"", b"\n", b"# words\n", b"\xff"])
)
def test_blocks_that_were_written_are_read(blocks: list[tuple[str, bytes]], between: bytes) -> None:
    text = between.join(pem(label, data) for label, data in blocks)
    assert [(label, decoded(block)) for label, block in pem_blocks(text)] == blocks


@given(damaged(PEM + PEM) | st.binary())
def test_any_bytes_are_blocks_or_invalid(text: bytes) -> None:
    try:
        blocks = pem_blocks(text)
    except ValueError as error:
        assert str(error).isascii()
        assert len(str(error)) < 200
    else:
        assert len(blocks) == text.count(b"-----BEGIN ") == text.count(b"-----END ")
        assert all(block in text and b"\\n" not in block for _, block in blocks)
