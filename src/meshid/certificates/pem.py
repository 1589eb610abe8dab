"""PEM text to blocks (RFC 7468), in one pass; and a message for each way in which such files go wrong."""

from __future__ import annotations

import base64
import codecs
import re

MAX_BLOCKS = 512
"""The bundle of a Linux distribution has about 150 certificates."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_DASHES = b"-----"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def pem_blocks(pem: bytes) -> list[tuple[str, bytes]]:
    r"""Return the label and the whole text of each PEM block (RFC 7468 section 2).

    Raises:
        ValueError: If a block begins and does not end, as in a file that was cut off, or ends and
            does not begin; if there are more than `MAX_BLOCKS`; or if the text is UTF-16, or has
            the two characters ``\n`` in place of each line break.
    """
    if pem.startswith(_UTF_16) or b"-\0-\0-\0-" in pem:
        msg = "the text is UTF-16, as PowerShell's > writes it; save it as UTF-8"
        raise ValueError(msg)
    blocks: list[tuple[str, bytes]] = []
    at = 0
    while (start := pem.find(b"-----BEGIN ", at)) >= 0:
        if len(blocks) == MAX_BLOCKS:
            msg = f"it has more than {MAX_BLOCKS} PEM blocks"
            raise ValueError(msg)
        label, at = _block(pem, start, len(blocks) + 1)
        blocks.append((label, pem[start:at]))
    if pem.count(b"-----END ") != len(blocks):
        msg = "a PEM block ends and does not begin: the text was cut off or mixed up"
        raise ValueError(msg)
    return blocks


def decoded(block: bytes) -> bytes:
    """Return what is in one PEM block.

    Raises:
        ValueError: If it is not base64.
    """
    try:
        return base64.b64decode(b"".join(block.split(_DASHES)[2].split()), validate=True)
    except ValueError as error:
        msg = "a PEM block is not base64"
        raise ValueError(msg) from error


def _block(pem: bytes, start: int, number: int) -> tuple[str, int]:
    """Return the label of the block that begins at *start*, and where it ends."""
    begin = _BEGIN.match(pem, start)
    if begin is None:
        msg = f"the first line of PEM block {number} is damaged: the text was cut off or mixed up"
        raise ValueError(msg)
    label = begin[1].decode("ascii")
    last_line = b"-----END " + begin[1] + _DASHES
    # There are no dashes in base64. To look for the last line itself would, where it is missing, read to the
    # end of the text once for each block.
    end = pem.find(_DASHES, begin.end())
    if not pem.startswith(last_line, end if end >= 0 else len(pem)):
        msg = f"PEM block {number} ({label}) begins and does not end: the text was cut off or mixed up"
        raise ValueError(msg)
    if b"\\n" in pem[begin.end() : end]:
        msg = (
            f"PEM block {number} ({label}) has the two characters \\n where its lines should end;"
            f" write real line breaks"
        )
        raise ValueError(msg)
    return label, end + len(last_line)
