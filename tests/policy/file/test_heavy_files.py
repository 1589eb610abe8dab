"""However much is in a file, and whatever it is: what it takes to say so is bounded."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meshid.support.documents import MAX_TOML_MIB

MB = 1_000_000
NOISE = random.Random(1).randbytes  # noqa: S311 - no secret
SMALL_TOML = MAX_TOML_MIB * 1024 * 1024

LOAD = """
import json, resource, sys, time
from meshid import InvalidPolicy, Policy
resource.setrlimit(resource.RLIMIT_AS, (1536 << 20, 1536 << 20))
began = time.process_time()
try:
    with open(sys.argv[1], "rb") as file:
        read = Policy.from_json if sys.argv[1].endswith(".json") else Policy.from_toml
        read(file.read(), environment="prod")
except InvalidPolicy as error:
    print(json.dumps([time.process_time() - began, len(error.problems), str(error)]))
"""


def repeated(unit: bytes, size: int = 50 * MB) -> Callable[[], bytes]:
    return lambda: unit * (size // len(unit))


def numbered(unit: str, count: int, *, begin: str = "{", end: str = "}") -> Callable[[], bytes]:
    """Return *count* units, each with its own number in place of every N."""

    def content() -> bytes:
        return (begin + ",".join(unit.replace("N", f"{n:x}") for n in range(count)) + end).encode()

    return content


def document(**parts: str) -> str:
    """Return the text of a JSON policy, with these parts in place of its own."""
    environments = '{"prod": {"trust_domains": ["a"]}}'
    members = {"version": "1", "environments": environments, **parts}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in members.items()) + "}"


def a_rule(**parts: str) -> str:
    members = {"id": '"r"', "from": '["/a"]', "to": '["t"]', **parts}
    return document(allow="[{" + ", ".join(f'"{key}": {value}' for key, value in members.items()) + "}]")


def rules_from(domains: int, length: int) -> bytes:
    """Return rules that each name another trust domain, alike to every one of many."""
    names = [f"{'ab' * (length // 2)}{n:x}" for n in range(domains)]
    rules = [
        {"id": f"r{n}", "to": ["t"], "from": [f"spiffe://{'ba' * (length // 2)}{n}/a"]} for n in range(1500)
    ]
    return json.dumps(
        {"version": 1, "environments": {"prod": {"trust_domains": names}}, "allow": rules}
    ).encode()


TOO_LARGE = "the limit for TOML; JSON, where accepted, may have 64 MiB"
TOO_MANY = "values: is it the right file?"

HEAVY: list[tuple[str, str, Callable[[], bytes], str]] = [
    ("random bytes", ".json", lambda: NOISE(50 * MB), "not UTF-8"),
    ("65 MiB", ".json", repeated(b" ", 65 << 20), "it is larger than 64 MiB"),
    ("brackets", ".json", repeated(b"["), TOO_MANY),
    ("brackets up to the limit", ".json", repeated(b"[", 2_999_999), "nested too deeply"),
    ("braces", ".json", repeated(b'{"a":'), TOO_MANY),
    ("braces up to the limit", ".json", repeated(b'{"a":', 5 * 2_999_999), "nested too deeply"),
    ("10 million empty lists", ".json", lambda: b"[" + b"[]," * 10 * MB + b"0]", TOO_MANY),
    ("empty lists up to the limit", ".json", lambda: b"[" + b"[]," * 1_499_000 + b"0]", "must be a table"),
    ("objects up to the limit", ".json", lambda: b"[" + b'{"a":0},' * 1_499_000 + b"0]", "must be a table"),
    ("strings up to the limit", ".json", numbered('"N"', 2_999_000, begin="[", end="]"), "must be a table"),
    ("keys up to the limit", ".json", numbered('"N":1', 2_999_000), "0: is unknown"),
    ("one string", ".json", lambda: b'"' + b"a" * 50 * MB + b'"', "(50000000 characters)"),
    ("one key", ".json", lambda: b'{"' + b"a" * 50 * MB + b'":1}', "(50000000 characters): is unknown"),
    ("digits", ".json", repeated(b"9"), "an integer of thousands of digits"),
    ("digits of a fraction", ".json", lambda: b"0." + b"9" * 50 * MB, "must be a table"),
    ("digits of a huge number", ".json", lambda: b"9" * 50 * MB + b"e1", "not infinity"),
    ("spaces", ".json", repeated(b" "), "it is empty"),
    ("NULs", ".json", repeated(b"\0"), "it has a NUL at character 1"),
    ("UTF-16", ".json", lambda: ("{}" * (12 * MB)).encode("utf-16"), "it is UTF-16"),
    ("escaped surrogates", ".json", lambda: b'"' + b"\\ud800" * 8 * MB + b'"', "(8000000 characters)"),
    ("a million unknown keys", ".json", numbered('"N":1', MB), "0: is unknown"),
    (
        "a million misspelled keys",
        ".json",
        numbered('"observN":1', MB),
        "observ0: is unknown; did you mean 'observe'?",
    ),
    (
        "a million bad items",
        ".json",
        lambda: a_rule(**{"from": '["/a b"' + ',"/a b"' * MB + "]"}).encode(),
        "may hold only",
    ),
    (
        "a million bad rules",
        ".json",
        lambda: document(allow="[0" + ",0" * MB + "]").encode(),
        "must be a table with id, from, to",
    ),
    (
        "from as 50 MB",
        ".json",
        lambda: a_rule(**{"from": f'"/{"a" * 50 * MB}"'}).encode(),
        "must be a list: put",
    ),
    (
        "50 MB in from",
        ".json",
        lambda: a_rule(**{"from": f'["{"a" * 50 * MB}"]'}).encode(),
        "must begin with '/'",
    ),
    (
        "50 MB of path in from",
        ".json",
        lambda: a_rule(**{"from": f'["/{"a/" * 25 * MB}"]'}).encode(),
        "at most 2048",
    ),
    (
        "50 MB of trust domain",
        ".json",
        lambda: a_rule(**{"from": f'["spiffe://{"a" * 50 * MB}/a"]'}).encode(),
        "longer than 255",
    ),
    ("50 MB in to", ".json", lambda: a_rule(to=f'["{"a" * 50 * MB}"]').encode(), "at most 2048"),
    (
        "50 MB in http",
        ".json",
        lambda: a_rule(http=f'["{"GET|" * 12 * MB} /a"]').encode(),
        "must be one method",
    ),
    ("50 MB of id", ".json", lambda: a_rule(id=f'"{"A" * 50 * MB}"').encode(), "must be 1 to 64"),
    ("50 MB of why", ".json", lambda: a_rule(why=f'"{"a" * 50 * MB}"').encode(), "at most 1024"),
    (
        "half a million environments",
        ".json",
        lambda: document(environments=numbered('"eN":0', MB // 2)().decode()).encode(),
        "environments.e0: must be a table",
    ),
    ("trust domains that are all alike", ".json", lambda: rules_from(100, 60), "did you mean abab"),
    ("many trust domains", ".json", lambda: rules_from(300_000, 8), "did you mean abab"),
    ("50 MB of TOML", ".toml", repeated(b'"a"=1\n'), TOO_LARGE),
    ("random bytes in TOML", ".toml", lambda: NOISE(SMALL_TOML), "not UTF-8"),
    ("brackets in TOML", ".toml", repeated(b"[", SMALL_TOML), "cannot be parsed"),
    ("arrays in TOML", ".toml", lambda: b"a=" + b"[" * (SMALL_TOML - 2), "nested too deeply"),
    ("inline tables", ".toml", repeated(b"a={", SMALL_TOML), "nested too deeply"),
    ("one dotted key", ".toml", repeated(b"a.", SMALL_TOML), "more than 16 parts"),
    ("tables", ".toml", repeated(b"[[allow]]\n", SMALL_TOML), "allow[0].id: is missing"),
    ("lines", ".toml", repeated(b'"a"=1\n', SMALL_TOML), "Cannot overwrite a value"),
    (
        "long keys",
        ".toml",
        lambda: b"".join(b"a." * 14 + b"k%x=1\n" % n for n in range(SMALL_TOML // 40)),
        "a: is unknown",
    ),
    ("one comment", ".toml", lambda: b"#" + b"a" * (SMALL_TOML - 1), "version: is missing"),
    ("a string in TOML", ".toml", lambda: b'a="' + b"a" * (SMALL_TOML - 4) + b'"', "a: is unknown"),
    ("digits in TOML", ".toml", lambda: b"a=" + b"9" * (SMALL_TOML - 2), "an integer of thousands of digits"),
    ("hexadecimal digits", ".toml", lambda: b"version=0x" + b"f" * (SMALL_TOML - 10), "not a huge number"),
    ("CRLF", ".toml", repeated(b"#\r\n", SMALL_TOML), "version: is missing"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "content", "words"), [row[1:] for row in HEAVY], ids=[row[0] for row in HEAVY]
)
def test_whatever_is_in_a_file_it_takes_bounded_time_and_memory(
    suffix: str, content: Callable[[], bytes], words: str, tmp_path: Path
) -> None:
    file = tmp_path / f"policy{suffix}"
    file.write_bytes(content())
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(file)], capture_output=True, text=True, timeout=100, check=False
    )
    file.unlink()
    assert run.returncode == 0, run.stderr[-1000:]
    seconds, problems, told = json.loads(run.stdout)
    assert words in told
    # Two seconds or five; what takes time in the square of its length takes hours.
    assert seconds < 30
    assert problems <= 1000
    assert len(told) < 50_000
