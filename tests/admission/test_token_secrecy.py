"""A token is a secret: it is in nothing that somebody may read later."""

from __future__ import annotations

import gc
import json
import logging
import pickle
from collections.abc import Iterator
from types import TracebackType

import pytest

from meshid import JsonFormatter, PeerRejected, Reason
from meshid.testing import CA
from meshid.tokens.bearer_token import BearerToken
from tests.helpers.binding_scene import DESK_CLIENT, OTHER, BindingScene
from tests.helpers.tls_peers import Heard
from tests.helpers.world import Clock

OURS = "/meshid/"


@pytest.fixture
def scene(prod_ca: CA, clock: Clock, heard: Heard, caplog: pytest.LogCaptureFixture) -> BindingScene:
    caplog.set_level(logging.DEBUG)
    return BindingScene(prod_ca, clock, audit=heard)


def secrets(token: str) -> tuple[str, ...]:
    """Return what must be nowhere: the token, and each of its parts that only its holder knows."""
    _, payload, signature = token.split(".")
    return token, payload, signature


def frames(traceback: TracebackType | None) -> Iterator[tuple[str, str]]:
    """Yield the local variables of our own frames, as an error reporter shows them."""
    while traceback is not None:
        frame = traceback.tb_frame
        if OURS in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            yield frame.f_code.co_qualname, repr(frame.f_locals)
        traceback = traceback.tb_next


def everything_about(error: BaseException | None) -> Iterator[tuple[str, str]]:
    """Yield all that can be read from an exception, and from those that it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield "the exception", f"{error} {error!r} {error.args} {vars(error)}"
        yield from frames(error.__traceback__)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("call", ["bind", "admit"])
@pytest.mark.parametrize(
    "kind", ["forged", "of another peer", "expired", "of a broken verifier", "malformed"]
)
def test_a_refused_token_is_nowhere(  # noqa: PLR0913, PLR0917  # fixtures
    call: str,
    kind: str,
    scene: BindingScene,
    heard: Heard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer = scene.peer()
    heard.next()
    if kind == "forged":
        token = scene.okta_token()[:-8] + "AAAAAAAA"
    elif kind == "expired":
        token = scene.okta_token(exp=1)
    elif kind == "malformed":
        token = scene.okta_token() + " "
    else:
        token = scene.okta_token(DESK_CLIENT)
    if kind == "of a broken verifier":
        monkeypatch.setattr(
            "meshid.tokens.token_verifier.TokenVerifier.verify", lambda _, text, __: json.loads(text)
        )
    try:
        if call == "bind":
            scene.mesh.bind(peer, token)
        else:
            scene.mesh.admit(peer.chain, token=token)
    except PeerRejected as error:
        read = dict(everything_about(error))
        assert error.__cause__ is error.__context__ is None
        assert pickle.loads(pickle.dumps(error)).reason is error.reason  # noqa: S301 - our own bytes
    else:
        pytest.fail("nothing was refused")
    assert "Admission.bind" in read or "Admission.admit" in read
    event = heard.next()
    read["the event"] = f"{event} {event!r} {event.as_dict()}"
    for record in caplog.records:
        read["the log"] = f"{record.getMessage()} {record.__dict__!r} {JsonFormatter().format(record)}"
    read["the mesh"] = f"{scene.mesh!r} {scene.mesh.snapshot!r} {scene.mesh.counts()!r} {scene.mesh.status()}"
    assert "the log" in read
    assert [
        (place, secret) for place, text in read.items() for secret in secrets(token) if secret in text
    ] == []


def test_a_token_that_counts_is_nowhere_either(
    scene: BindingScene, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    token = scene.okta_token()
    bound = scene.mesh.bind(scene.peer(), token)
    assert scene.mesh.check(bound)
    heard.next()
    event = heard.next()
    told = [f"{bound!r} {bound.token!r} {event} {event!r} {event.as_dict()} {scene.mesh.snapshot!r}"]
    told += [f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records]
    assert "okta" in told[0]
    assert [secret for text in told for secret in secrets(token) if secret in text] == []


def test_nothing_keeps_it(scene: BindingScene) -> None:
    """What is remembered of a token does not lead back to it."""
    peer = scene.peer()
    token = scene.okta_token()
    scene.mesh.bind(peer, token)
    texts = _reachable_texts(scene.mesh.snapshot.bound_peers)
    assert [secret for text in texts for secret in secrets(token) if secret in text] == []
    assert any(peer.fingerprint in text for text in texts), "the walk found what is there"


def _reachable_texts(start: object) -> list[str]:
    """Return each text and each bytes that an object leads to, classes and modules apart."""
    seen: set[int] = set()
    found: list[str] = []
    todo = [start]
    while todo:
        each = todo.pop()
        if id(each) in seen or isinstance(each, type) or type(each).__name__ in {"module", "function"}:
            continue
        seen.add(id(each))
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, bytes):
            found.append(each.decode("latin-1"))
        else:
            todo.extend(gc.get_referents(each))
    return found


def test_a_bearer_token_shows_nothing() -> None:
    token = BearerToken("secret")
    assert (repr(token), str(token), token.text) == ("<BearerToken>",) * 2 + ("secret",)
    with pytest.raises(TypeError, match="without 'Bearer '") as caught:
        BearerToken(b"secret")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("claim", ["jti", "kid", "principal"])
def test_what_an_issuer_was_asked_to_write_forges_no_line(
    claim: str, scene: BindingScene, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = "x\r\nrefused: nobody\x1b[2J" + "y" * 1000
    peer = scene.peer(OTHER)
    if claim == "kid":
        token = scene.okta.mint({"aud": "api://payments"}, kid=hostile[:300])
    else:
        token = scene.okta_token(**({"jti": hostile} if claim == "jti" else {"sub": hostile, "cid": hostile}))
    with pytest.raises(PeerRejected) as caught:
        scene.mesh.bind(peer, token)
    assert caught.value.reason in {Reason.TOKEN_DISAGREES, Reason.TOKEN_KEY_UNKNOWN, Reason.TOKEN_CLAIMS}
    heard.next()
    event = heard.next()
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(JsonFormatter().format(record)) < 4000
    for value in event.as_dict().values():
        assert not isinstance(value, str) or (value.isprintable() and value.isascii() and len(value) < 700)
