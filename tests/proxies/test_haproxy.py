"""HAProxy, as docs/haproxy.md has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshid.http import authorizer
from tests.helpers.proxies import HAPROXY, documented, filled, reserved_port, running_proxy
from tests.helpers.proxy_scene import CHECKOUT_ID, Line, Scene, proxy_scene, serving_app
from tests.helpers.whole_chain import (
    CHARGES,
    PUBLIC,
    WEB_ID,
    Proxied,
    WholeChainProxy,
    changed,
    other_trust,
    resumed,
)

CONFIGURATION = "HAProxy ends TLS and asks meshid"
ACTION = "Asks the meshid authorizer"


@contextlib.contextmanager
def haproxy(scene: Scene, asks: Path, *changes: tuple[str, str]) -> Iterator[Proxied]:
    """Run HAProxy as documented, but for *changes*."""
    with reserved_port() as port:
        lua, configuration = scene.folder / "meshid.lua", scene.folder / f"haproxy-{port}.cfg"
        lua.write_text(documented("haproxy", ACTION))
        values = {**scene.values(port), "AUTHORIZER_SOCKET": asks, "LUA_FILE": lua}
        configuration.write_text(filled(changed(documented("haproxy", CONFIGURATION), *changes), values))
        with running_proxy([HAPROXY.path(), "-db", "-f", configuration], port, scene.folder):
            yield Proxied(scene, port, asks)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        proxy_scene(tmp_path_factory.mktemp("haproxy")) as scene,
        serving_app(authorizer(scene.mesh, proxy="haproxy"), scene.socket),
    ):
        yield scene


@pytest.fixture(scope="module")
def running(scene: Scene) -> Iterator[Proxied]:
    with haproxy(scene, scene.socket) as proxied:
        yield proxied


@pytest.fixture(scope="module")
def running_astray(scene: Scene) -> Iterator[Proxied]:
    with haproxy(scene, scene.folder / "astray.sock") as proxied:
        yield proxied


@pytest.fixture
def proxied(running: Proxied) -> Proxied:
    running.scene.restore()
    return running


@pytest.fixture
def astray(running_astray: Proxied) -> Proxied:
    running_astray.scene.restore()
    return running_astray


class TestHaproxy(WholeChainProxy):
    """The documented configuration."""

    def test_no_session_is_resumed(self, proxied: Proxied) -> None:
        assert resumed(proxied, "checkout", proxied.scene.restore) == (False, 200)


@contextlib.contextmanager
def slipped(scene: Scene, *changes: tuple[str, str]) -> Iterator[Proxied]:
    scene.restore()
    with haproxy(scene, scene.socket, *changes) as proxied:
        yield proxied


class TestSlips:
    """What a small change of the configuration does: the page says so, and must be right."""

    @pytest.mark.parametrize(
        "change",
        [("tune.ssl.cachesize 0", "tune.ssl.cachesize 1000"), ("TLSv1.3 no-tls-tickets", "TLSv1.3")],
        ids=["by session identifier", "by ticket"],
    )
    def test_a_resumed_session_has_lost_its_chain(self, change: tuple[str, str], scene: Scene) -> None:
        """As long as meshid remembers the leaf, it knows the chain."""
        with slipped(scene, change) as proxied:
            assert resumed(proxied, "checkout", lambda: None) == (True, 200)
            assert resumed(proxied, "checkout", lambda: scene.mesh.publish(bundles=other_trust(scene))) == (
                True,
                403,
            )

    def test_a_refusal_by_its_status_lets_everything_else_through(self, scene: Scene) -> None:
        """This door is open while the authorizer is gone."""
        scene.restore()
        slip = (
            "deny_status 403 unless { var(txn.meshid_status) -m int 200 }",
            "deny_status 403 if { var(txn.meshid_status) -m int 403 }",
        )
        with haproxy(scene, scene.folder / "nowhere.sock", slip) as proxied:
            assert proxied.once("none", CHARGES) == 200
        assert len(scene.upstream.taken()) == 1

    def test_a_path_that_is_changed_later_is_not_the_one_that_was_judged(self, scene: Scene) -> None:
        """This door is open; changed before, the path is judged as it is served."""
        later = (
            "    default_backend service\n",
            "    http-request set-path /v1/charges/1\n    default_backend service\n",
        )
        sooner = (
            "    http-request lua.meshid\n",
            "    http-request set-path /v1/charges/1\n    http-request lua.meshid\n",
        )
        with slipped(scene, later) as proxied:
            assert proxied.once("web") == 200
        assert [it.target for it in scene.upstream.taken()] == [b"/v1/charges/1"]
        with slipped(scene, sooner) as proxied:
            assert (proxied.once("web"), proxied.once("checkout")) == (403, 200)

    def test_without_the_option_an_underscore_is_another_header(self, scene: Scene) -> None:
        with (
            slipped(scene, ("    option http-restrict-req-hdr-names delete", "    #")) as proxied,
            Line(proxied.port, scene.context("web")) as line,
        ):
            assert line.ask(*PUBLIC, [("x_meshid_peer", CHECKOUT_ID)]).status == 200
        (received,) = scene.upstream.taken()
        assert received.all("x-meshid-peer") == [WEB_ID.encode()]
        assert received.all("x_meshid_peer") == [CHECKOUT_ID.encode()]
