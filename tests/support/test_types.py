"""Arguments of a wrong type: one clear error."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from meshid.support.types import check_type


def test_the_type_that_is_wanted_passes() -> None:
    check_type(bytes, bytes, "pem", "PEM as bytes")
    check_type(bool, int, "number", "a whole number")
    check_type(tuple, Iterable, "list", "a list")


def test_another_type_is_named_with_what_would_be_right() -> None:
    with pytest.raises(TypeError, match=r"^pem must be PEM as bytes, not str$"):
        check_type(str, bytes, "pem", "PEM as bytes")
