"""What the service behind a port hears when it asks by a handle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import Mesh, Revocations
from meshid.http.asgi import App
from meshid.http.authorizer import AuthorizerApp
from meshid.http.requested import in_original
from meshid.port.handle_judge import HandleJudge
from meshid.port.handles import Handles
from meshid.testing import CA
from tests.helpers.tls_peers import CLOSED_POLICY, PATH, Heard, Memory, stranger
from tests.http.test_authorizer import Answer, asked, question

NAME = f"spiffe://prod.example.org{PATH}"


def asking_by_handle(mesh: Mesh, handles: Handles) -> App:
    return AuthorizerApp(in_original, HandleJudge(mesh, handles, None))


class Scene:
    """A connection, and its handle."""

    def __init__(self, mesh: Mesh, ca: CA) -> None:
        self.mesh = mesh
        handles = Handles()
        self.app = asking_by_handle(mesh, handles)
        self.both = Memory(mesh.server_context(http=True), stranger(ca.intermediate().issue(PATH)))
        self.both.shake_hands()
        self.handle = handles.add(self.both.server).encode()  # type: ignore[arg-type]

    def ask(self, *headers: bytes, request: tuple[str, str] = ("POST", "/charges?a=1")) -> Answer:
        pairs = [(b"x-meshid-connection", value) for value in headers]
        return asked(self.app, question("nginx", *request, pairs))


@pytest.fixture
def scene(mesh: Mesh, prod_ca: CA, heard: Heard) -> Scene:
    scene = Scene(mesh, prod_ca)
    assert heard.next().call == "admit"
    return scene


def test_a_live_connection_is_judged_by_its_whole_chain(scene: Scene, heard: Heard) -> None:
    answer = scene.ask(scene.handle)
    assert (answer.status, answer.meshid["peer"], answer.meshid["rule"]) == (200, NAME, "shop")
    event = heard.next()
    assert (event.call, event.decision.name, event.decision.request) == ("check", NAME, "POST /charges")


def test_its_answer_follows_what_is_in_force(scene: Scene) -> None:
    scene.mesh.publish(revocations=Revocations(deny=["spiffe://prod.example.org/ns/other/**"]))
    assert scene.ask(scene.handle).status == 200
    assert scene.ask(scene.handle, request=("GET", "/a%00")).meshid == {"reason": "unsafe_request"}
    scene.mesh.publish(policy=CLOSED_POLICY)
    assert scene.ask(scene.handle) == Answer(401, {"reason": "no_certificate"}), "its connection has ended"


@pytest.mark.parametrize("headers", [(), (b"0" * 32,)], ids=["no handle", "a handle of no connection"])
def test_who_did_not_come_through_the_port_is_nobody(
    scene: Scene, heard: Heard, headers: tuple[bytes, ...]
) -> None:
    assert scene.ask(*headers) == Answer(401, {"reason": "no_certificate"})
    assert heard.reason() == "no_certificate"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda handle: (handle, handle), id="doubled"),
        pytest.param(lambda handle: (b"0" * 32, handle), id="with another"),
        pytest.param(lambda handle: (handle + b", " + handle,), id="joined"),
        pytest.param(lambda handle: (handle.upper(),), id="in upper case"),
        pytest.param(lambda handle: (handle[:-1],), id="too short"),
        pytest.param(lambda handle: (handle + b"0",), id="too long"),
        pytest.param(lambda handle: (handle + b"\n",), id="with an end of line"),
        pytest.param(lambda handle: (handle[:-1] + b"\xe9",), id="not ASCII"),
        pytest.param(lambda _: (b"",), id="empty"),
    ],
)
def test_what_is_no_handle_is_refused(
    scene: Scene, heard: Heard, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    headers = change(scene.handle)  # type: ignore[operator]
    assert scene.ask(*headers) == Answer(403, {"reason": "malformed_certificate"})
    assert heard.is_quiet()
    assert "X-Meshid-Connection" in caplog.text


@given(st.lists(st.binary(max_size=40) | st.from_regex(rb"[0-9a-f]{32}", fullmatch=True), max_size=3))
def test_nothing_but_a_handle_says_yes(values: list[bytes]) -> None:
    app = asking_by_handle(Mesh(service="payments"), Handles())
    pairs = [(b"x-meshid-connection", value) for value in values]
    assert asked(app, question("nginx", "GET", "/", pairs)).status in {401, 403}
