"""DER elements, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.certificates.der import element, elements
from tests.helpers.forged import der


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_an_element_has_the_shortest_length(size: int) -> None:
    """X.690 section 10.1."""
    content = bytes(size)
    assert element(0x30, content) == der(0x30, content) == element(0x30, content[:3], content[3:])


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300))))
def test_what_is_written_is_read(parts: list[tuple[int, bytes]]) -> None:
    assert list(elements(b"".join(element(*part) for part in parts))) == parts
