"""A policy file in TOML, laid out for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

_WIDTH = 100


def policy_file(
    environment: str, own: Sequence[str], federated: Sequence[str], rules: Iterable[dict[str, object]]
) -> str:
    """Return the text of a policy file."""
    lines = ["version = 1", "", f"[environments.{_string(environment)}]", f"trust_domains = {_list(own)}"]
    lines += [f"federates_with = {_list(federated)}"] if federated else []
    for rule in rules:
        lines += ["", f"[[{rule['effect']}]]"]
        lines += [
            f"{key} = {_value(rule[key])}"
            for key in ("id", "why", "from", "not_from", "to", "http", "not_http", "observe")
            if rule[key]
        ]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _list(value) if isinstance(value, list) else _string(str(value))


def _list(values: Sequence[str]) -> str:
    texts = [_string(each) for each in values]
    line = f"[{', '.join(texts)}]"
    return line if len(line) <= _WIDTH else "[\n" + "".join(f"    {text},\n" for text in texts) + "]"


def _string(text: str) -> str:
    # A basic string of TOML takes each escape that JSON writes, and no DEL, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
