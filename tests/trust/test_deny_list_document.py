"""A deny list as a file: read whole, or refused with all that is wrong in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidRevocations
from meshid.trust.deny_list import Denial
from meshid.trust.deny_list_document import MAX_DENIALS, MAX_SHOWN, read_deny_list
from meshid.trust.revocations import Revocations

HASH = "ab" * 32


def test_every_kind_of_entry() -> None:
    text = f"""
version = 1

[[deny]]
peer = "spiffe://prod.example.org/ns/ci/**"
reason = "INC-4711: a runner leaked its key"
until = 2027-01-31T12:00:00Z

[[deny]]
certificate = "{HASH}"

[[deny]]
key = "{HASH}"

[[deny]]
issuer = "CN=root,O=Example"
serial = "0A:1b"
"""
    assert read_deny_list(text.encode()) == (
        Denial(
            peer="spiffe://prod.example.org/ns/ci/**",
            reason="INC-4711: a runner leaked its key",
            until=datetime(2027, 1, 31, 12, tzinfo=UTC),
        ),
        Denial(certificate=HASH),
        Denial(key=HASH),
        Denial(issuer="CN=root,O=Example", serial=0x0A1B),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = true", "version: must be 1; write: version = 1"),
        ("version = 1\nallow = []", "'allow' is unknown; entries are tables [[deny]]"),
        ("version = 1\ndeny = 'x'", "deny: must be a list of tables; write [[deny]] above each entry"),
        ("version = 1\ndeny = ['x']", "deny: must be a list of tables; write [[deny]] above each entry"),
        ("version = 1\n[[deny]]", "deny[0]: an entry names exactly one of peer, certificate, key, or issuer"),
        (
            "version = 1\n[[deny]]\nzebra = 1",
            "deny[0].zebra: is unknown; the keys are: peer, certificate, key,",
        ),
        (
            "version = 1\n[[deny]]\nserial = 10",
            "deny[0].serial: must be a serial number in quotes, in hex or in decimal",
        ),
        (
            "version = 1\n[[deny]]\nissuer = 'CN=x'\nserial = 'xyz'",
            "deny[0]: serial 'xyz' is not a serial number, such as 7c:2a:19 in hex, or in decimal",
        ),
        ("version = 1\n[[deny]]\npeer = '/ns/x'", "deny[0]: '/ns/x' has no trust domain; write spiffe://"),
        (
            "version = 1\n[[deny]]\nkey = 'AB'",
            "deny[0]: key 'AB' is not a SHA-256 in 64 lower-case hex digits",
        ),
        (
            f"version = 1\n[[deny]]\nkey = '{HASH}'\nuntil = 2027-01-31T12:00:00",
            "deny[0]: until 2027-01-31 12:00:00 has no offset from UTC; write 2027-01-31T12:00:00Z",
        ),
        ("version = 1\n[[deny]", ""),
    ],
)
def test_a_mistake_is_reported_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(InvalidRevocations) as caught:
        read_deny_list(text.encode())
    assert str(caught.value).startswith(expected)


def serials(text: str) -> set[int | None]:
    file = f"version = 1\n[[deny]]\nissuer = 'CN=x'\nserial = '{text}'\n"
    return {each.serial for each in read_deny_list(file.encode())}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7c2a19", {0x7C2A19}),
        ("7C:2A:19", {0x7C2A19}),
        ("0x10", {0x10}),
        ("10:00", {0x1000}),
        ("serial=7C2A19", {0x7C2A19}),
        ("Serial Number: 4097 (0x1001)", {0x1001}),
        ("4097 (0x1001)", {0x1001}),
        (" 1f ", {0x1F}),
        ("10", {0x10, 10}),
        ("1311768467284833366", {0x1311768467284833366, 1311768467284833366}),
    ],
)
def test_a_serial_number_is_read_as_tools_print_it_and_as_both_where_it_may_be_either(
    text: str, expected: set[int]
) -> None:
    assert serials(text) == expected


@pytest.mark.parametrize("text", ["", "-7", "1_0", "+1", "7c:2", "0x", "7c 2a", "\u0661", "a" * 65, "10)"])
def test_what_is_no_serial_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidRevocations, match="is not a serial number, such as 7c:2a:19"):
        serials(text.encode().decode("unicode_escape") if "\\" in text else text)


def test_it_has_a_bound_in_entries_and_in_mistakes() -> None:
    file = "version = 1\n" + "deny=[" + "{}," * MAX_DENIALS + "]"
    with pytest.raises(InvalidRevocations) as caught:
        read_deny_list(file.encode())
    lines = str(caught.value).splitlines()
    assert len(lines) == MAX_SHOWN + 1
    assert lines[-1] == f"... and {MAX_DENIALS - MAX_SHOWN} more"
    with pytest.raises(InvalidRevocations, match=f"^deny: has {MAX_DENIALS + 1} entries, and at most "):
        read_deny_list(file.replace("]", "{}]").encode())


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(InvalidRevocations) as caught:
        read_deny_list(b"vresion = 1\n[[deny]]\nx = 1\n[[deny]]\npeer = 2\n")
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "version",
        "'vresion' is unknown; entries are tables [[deny]]",
        "deny[0].x",
        "deny[1].peer",
    ]


@given(st.one_of(st.binary(), st.text().map(lambda text: f"version = 1\n[[deny]]\n{text}".encode())))
def test_whatever_is_in_the_file_it_is_read_or_refused(data: bytes) -> None:
    try:
        entries = read_deny_list(data)
    except InvalidRevocations as error:
        assert str(error).isprintable() or "\n" in str(error)
    else:
        assert all(isinstance(entry, Denial) for entry in entries)


NAMES = st.lists(st.sampled_from(list('CNO=/,;+"\\ ab1.\n')), max_size=30).map("".join)
SERIALS = st.lists(st.sampled_from(list("0123456789abcdefx:() =-_")), max_size=24).map("".join)


@given(NAMES | st.text(), SERIALS | st.text())
def test_whatever_is_denied_is_read_or_refused_in_one_line(issuer: str, serial: str) -> None:
    values = ", ".join(
        f"{key} = {json.dumps(value)}" for key, value in (("issuer", issuer), ("serial", serial))
    )
    try:
        entries = read_deny_list(f"version = 1\ndeny = [{{{values}}}]\n".encode("utf-8", "surrogatepass"))
    except InvalidRevocations as error:
        assert str(error).isascii()
        assert "\n" not in str(error)
    else:
        assert entries
        Revocations(deny=entries)
