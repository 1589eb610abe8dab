"""The closed enum of reasons, and docs/reasons.md, which is made from it.

After a change: ``python -m tests.test_reasons --write``
"""

from __future__ import annotations

import inspect
import pickle
import re
import sys
from pathlib import Path

import pytest

from meshid import reasons
from meshid.reasons import Reason

PAGE = Path(__file__).parent.parent / "docs" / "reasons.md"

HEAD = """\
# Reasons

Every decision has one reason, from this closed list.
It is in `PeerRejected.reason`, in `Decision.reason` and in each audit event; the peer never learns it.
The values are stable, so that alarms can be built on them.
"""

_SECTION = re.compile(r"^    # -- (?P<title>.+?) -+$|^    (?P<member>[A-Z_]+) = \($", re.MULTILINE)


def sections() -> dict[str, list[Reason]]:
    """Return the reasons under the comments that divide the table in reasons.py."""
    found: dict[str, list[Reason]] = {}
    for match in _SECTION.finditer(inspect.getsource(reasons)):
        if match["title"]:
            found[match["title"]] = members = []
        else:
            members.append(Reason[match["member"]])
    return found


def row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def page() -> str:
    lines = [HEAD]
    for title, members in sections().items():
        lines += [
            f"## {title}",
            "",
            row("reason", "what it means", "clause", "what to do"),
            "|---|---|---|---|",
        ]
        lines += [row(f"`{each}`", each.meaning, each.clause, each.remedy) for each in members]
        lines.append("")
    return "\n".join(lines)


def test_the_page_says_what_the_table_says() -> None:
    assert page() == PAGE.read_text("utf-8"), "run: python -m tests.test_reasons --write"


def test_the_page_has_every_reason_once() -> None:
    assert [each for members in sections().values() for each in members] == list(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_explains_itself(reason: Reason) -> None:
    for sentence in (reason.meaning, reason.remedy):
        assert re.fullmatch(r"[A-Z][^\n]+\.", sentence)
    assert re.search(r"section|meshid", reason.clause), "neither a clause nor a promise"


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_its_own_stable_text(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", reason)
    assert str(reason) == reason.value == f"{reason}"
    assert Reason(reason.value) is reason  # type: ignore[call-arg]  # mypy sees the whole row
    assert pickle.loads(pickle.dumps(reason)) is reason  # noqa: S301 - our own bytes


def test_no_two_reasons_are_the_same() -> None:
    assert len({each.value for each in Reason}) == len({each.meaning for each in Reason}) == len(Reason)


def test_what_is_not_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a valid Reason"):
        Reason("bad_luck")  # type: ignore[call-arg]  # mypy sees the whole row


# Audit records and alarms are built on these texts: to change one is to break them.
STABLE = """
    allowed request_awaited expected observed public
    no_certificate chain_too_large malformed_certificate
    no_name ambiguous_name invalid_name name_without_path unknown_trust_domain profile_mismatch
    leaf_is_ca leaf_may_sign no_digital_signature wrong_key_purpose weak_key not_yet_valid expired
    self_signed foreign_authority unknown_authority authority_not_in_date invalid_path revoked
    crl_not_in_date revocation_undetermined deny_listed
    token_malformed token_type token_algorithm token_issuer_unknown token_key_unknown token_keys_unavailable
    token_signature token_audience token_not_in_date token_claims token_unbound token_bound_elsewhere
    token_disagrees no_token
    denied no_rule no_policy unsafe_request unexpected_server
    plaintext_before_tls key_not_proven tls_failed internal_error
"""


def test_the_values_stay_as_they_are() -> None:
    assert [each.value for each in Reason] == STABLE.split()


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(page(), "utf-8")
