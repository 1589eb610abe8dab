"""Which of several SVIDs is ours."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from meshid import InvalidCredentials, SpiffeId
from meshid.sources.workload.choice import Choice, Offer

A, B, C = (SpiffeId.parse(f"spiffe://prod.example.org/{each}") for each in "abc")


@pytest.mark.parametrize(
    ("choice", "offers", "current", "taken"),
    [
        pytest.param(Choice(), [(A, ""), (B, "")], None, 0, id="the first"),
        pytest.param(Choice(), [(B, ""), (A, "")], A, 1, id="the present name before another first one"),
        pytest.param(Choice(), [(B, ""), (C, "")], A, 0, id="the first, if the present name is gone"),
        pytest.param(Choice(spiffe_id=B), [(A, ""), (B, "")], None, 1, id="the pinned name"),
        pytest.param(Choice(spiffe_id=B), [(A, ""), (B, "")], A, 1, id="it counts more than the present"),
        pytest.param(Choice(spiffe_id=B, hint="x"), [(A, "x"), (B, "")], None, 1, id="and than a hint"),
        pytest.param(Choice(spiffe_id=B, hint="x"), [(B, ""), (B, "x")], None, 1, id="but then the hint"),
        pytest.param(Choice(hint="x"), [(A, ""), (B, "x")], None, 1, id="the hint"),
        pytest.param(Choice(hint="x"), [(A, ""), (B, "x")], A, 1, id="it counts more than the present"),
        pytest.param(Choice(hint="x"), [(A, "x"), (B, "x")], None, 0, id="the first of equal hints"),
        pytest.param(Choice(hint="x"), [(B, "x"), (A, "x")], A, 1, id="but the present name before it"),
        pytest.param(Choice(pick=lambda each: each[-1]), [(A, ""), (B, "")], A, 1, id="what a picker says"),
    ],
)
def test_the_one_that_is_taken(
    choice: Choice, offers: Sequence[Offer], current: SpiffeId | None, taken: int
) -> None:
    assert choice.of(offers, current) is offers[taken]


def no_pick(_: Sequence[Offer]) -> Offer:
    msg = "no\n"
    raise LookupError(msg)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(spiffe_id=C), f"no SVID of the agent has the SPIFFE ID {C}; it offers {A}, {B} (hint 'x')"),
        (Choice(hint="y"), f"no SVID of the agent has the hint 'y'; it offers {A}, {B} (hint 'x')"),
        (Choice(pick=no_pick), r"pick failed: LookupError: 'no\n'"),
        (Choice(pick=lambda _: (C, "")), f"pick returned {(C, '')!r}"),
        (Choice(pick=lambda _: None), f"pick returned None, which is not one of {A}, {B} (hint 'x')"),  # type: ignore[arg-type,return-value]  # what is wrong with it
    ],
)
def test_none_is_taken(choice: Choice, said: str) -> None:
    with pytest.raises(InvalidCredentials) as caught:
        choice.of([(A, ""), (B, "x")], None)
    assert str(caught.value).replace('"', "").replace("'None'", "None").startswith(said.replace('"', ""))


def test_of_many_offers_only_some_are_shown() -> None:
    with pytest.raises(InvalidCredentials, match=r", spiffe://prod\.example\.org/a and 92 more$"):
        Choice(hint="x").of([(A, "")] * 100, None)
