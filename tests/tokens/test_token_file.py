"""A token in a file is the newest good one, and a bad file costs nothing while the last one is in date."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshid.testing import TokenIssuer
from meshid.tokens import TokenFile, TokenUnavailable
from tests.helpers.volumes import KubernetesVolume


class World:
    """A clock, an issuer that goes by it, and a file."""

    def __init__(self, directory: Path) -> None:
        self.now = 1_000_000.0
        self.issuer = TokenIssuer(clock=lambda: self.now)
        self.path = directory / "token"
        self.token = TokenFile(self.path, clock=lambda: self.now)

    def write(self, end: str = "") -> str:
        """Write a token of five minutes."""
        text = self.issuer.mint({})
        self.path.write_text(text + end, "ascii")
        return text

    def refusal(self) -> str:
        with pytest.raises(TokenUnavailable) as refused:
            self.token.get()
        return str(refused.value)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=repr)
def test_the_token_of_the_file_is_sent(world: World, end: str) -> None:
    text = world.write(end)
    assert world.token.get() == text
    assert world.token.header() == f"Bearer {text}"


def test_a_new_token_is_seen_within_a_second_and_no_earlier(world: World) -> None:
    first = world.write()
    assert world.token.get() == first
    second = world.write()
    world.now += 0.9
    assert world.token.get() == first
    world.now += 0.1
    assert world.token.get() == second


def test_a_clock_that_steps_back_holds_nothing_up(world: World) -> None:
    world.write()
    world.token.get()
    world.now -= 3600
    newest = world.write()
    assert world.token.get() == newest


def test_a_file_that_has_not_changed_is_not_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    text = world.write()
    assert world.token.get() == text
    monkeypatch.setattr(Path, "open", None)
    world.now += 60
    assert world.token.get() == text


def test_a_projected_volume_is_followed(tmp_path: Path, world: World) -> None:
    volume = KubernetesVolume(tmp_path / "volume", {"token": (first := world.issuer.mint({})).encode()})
    token = TokenFile(tmp_path / "volume" / "token", clock=lambda: world.now)
    assert token.get() == first
    volume.swap({"token": (second := world.issuer.mint({})).encode()})
    world.now += 1
    assert token.get() == second


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.write_bytes(b"e30.e30." + b"A" * 20_000)


def no_ascii(path: Path) -> None:
    path.write_bytes(b"e30.e30.\xff")


def of_last_year(path: Path) -> None:
    path.write_text(TokenIssuer(clock=lambda: 0).mint({}), "ascii")


WRONG = [
    pytest.param(removed, "it cannot be read: No such file or directory", id="gone"),
    pytest.param(emptied, "it is empty", id="empty"),
    pytest.param(cut_off, "it is no signed JWT", id="cut off"),
    pytest.param(a_directory, "it is not a regular file", id="a directory"),
    pytest.param(a_pipe, "it is not a regular file", id="a pipe"),
    pytest.param(endless, "it is longer than 16384 characters", id="too large"),
    pytest.param(no_ascii, "it is no signed JWT", id="no ASCII"),
    pytest.param(of_last_year, "its token has expired at 1970-01-01 00:05:00 UTC", id="expired"),
]


@pytest.mark.parametrize(("spoil", "why"), WRONG)
def test_a_bad_file_is_said_with_its_path_and_the_last_token_serves_to_its_end(
    world: World, spoil: Callable[[Path], None], why: str
) -> None:
    text = world.write()
    assert world.token.get() == text
    spoil(world.path)
    world.now += 299
    assert world.token.get() == text
    world.now += 1
    assert world.refusal().startswith(f"there is no token in '{world.path}': {why}")
    fresh = TokenFile(world.path, clock=lambda: world.now)
    with pytest.raises(TokenUnavailable, match=why.partition(":")[0]) as refused:
        fresh.get()
    assert text not in str(refused.value)
    assert text[:20] not in str(refused.value)


def test_a_file_that_is_right_again_is_taken(world: World) -> None:
    assert "No such file" in world.refusal()
    text = world.write()
    world.now += 1
    assert world.token.get() == text


def test_a_token_that_nobody_renews_is_not_sent_when_it_has_expired(world: World) -> None:
    world.write()
    world.token.get()
    world.now += 300
    assert world.refusal().endswith(
        "its token has expired at 1970-01-12 13:51:40 UTC; is it still being renewed?"
    )


def test_a_file_that_is_written_while_it_is_read_does_not_count_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write()
    read = Path.open

    def read_and_written(path: Path, mode: str) -> object:
        file = read(path, mode)
        monkeypatch.setattr(Path, "open", read)
        world.write("\n")
        return file

    monkeypatch.setattr(Path, "open", read_and_written)
    assert world.refusal().endswith("it is being written")
    world.now += 1
    assert world.token.get()


def test_a_path_that_cannot_be_one_is_said() -> None:
    with pytest.raises(
        TokenUnavailable, match=r"there is no token in 'a\\x00b': it cannot be read: '.*embedded null"
    ):
        TokenFile("a\0b").get()


def test_what_is_no_path_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError):
        TokenFile(1)  # type: ignore[arg-type]


def test_it_shows_its_path_and_not_its_token(world: World) -> None:
    text = world.write()
    world.token.get()
    assert repr(world.token) == f"TokenFile({str(world.path)!r})"
    assert text not in str(vars(world.token))
