"""Where a client could go round: by a proxy, in plain text, to another host, or once more."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator

import aiohttp
import asyncpg
import httpx
import pytest
import requests
import urllib3
import websockets

from meshid import Mesh, MeshContext, Reason, refusal_of
from meshid.http.requests_adapter import MeshAdapter
from meshid.testing import CA, Issued
from tests.frameworks.clients.dialogues import ANSWER, HTTP, PATH, POSTGRES, WEBSOCKET, Speech
from tests.helpers.recording import Recorder, connect_proxy, recording
from tests.helpers.tls_peers import Service, threaded_server

EXPECT = "/ns/shop/sa/payments"

By = Callable[[MeshContext, int, int], object]
"""Asks the server at one port by the proxy at another, and returns the answer."""


def serving(
    issued: Issued, speech: Speech, *, is_wrong: bool = False
) -> contextlib.AbstractContextManager[Recorder]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.load_into(context)
    return recording(context, speech.tempt if is_wrong else speech.dialogue, speech.before_tls)


@pytest.fixture
def context(mesh: Mesh) -> MeshContext:
    return mesh.client_context(EXPECT)


@pytest.fixture
def wrong(prod_ca: CA) -> Iterator[Recorder]:
    with serving(prod_ca.issue("/ns/shop/sa/other", dns=["localhost"]), HTTP, is_wrong=True) as server:
        yield server


# -- By a proxy -----------------------------------------------------------------


def http_client(context: MeshContext, port: int, proxy: int) -> object:
    connection = http.client.HTTPSConnection("localhost", proxy, context=context)
    connection.set_tunnel("localhost", port)
    with contextlib.closing(connection):
        connection.request("GET", PATH)
        return connection.getresponse().read().decode()


def with_urllib3(context: MeshContext, port: int, proxy: int) -> object:
    with urllib3.ProxyManager(f"http://localhost:{proxy}", ssl_context=context, retries=False) as pool:
        return pool.request("GET", f"https://localhost:{port}{PATH}").data.decode()


def with_requests(context: MeshContext, port: int, proxy: int) -> object:
    with requests.Session() as session:
        session.mount("https://", MeshAdapter(context))
        session.proxies = {"https": f"http://localhost:{proxy}"}
        # The variables of this process could name another.
        session.trust_env = False
        return session.get(f"https://localhost:{port}{PATH}").text


def with_httpx(context: MeshContext, port: int, proxy: int) -> object:
    with httpx.Client(verify=context, proxy=f"http://localhost:{proxy}") as client:
        return client.get(f"https://localhost:{port}{PATH}").text


def with_aiohttp(context: MeshContext, port: int, proxy: int) -> object:
    async def ask() -> str:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.get(f"https://localhost:{port}{PATH}", proxy=f"http://localhost:{proxy}") as response,
        ):
            return await response.text()

    return asyncio.run(ask())


def with_websockets(context: MeshContext, port: int, proxy: int) -> object:
    async def ask() -> object:
        url = f"wss://localhost:{port}/v1/ws"
        async with websockets.connect(url, ssl=context, proxy=f"http://localhost:{proxy}") as client:
            await client.send("charge")
            return await client.recv()

    return asyncio.run(ask())


BY_PROXY: dict[str, By] = {
    "http.client": http_client,
    "urllib3": with_urllib3,
    "requests": with_requests,
    "httpx": with_httpx,
    "aiohttp": with_aiohttp,
    "websockets": with_websockets,
}


@pytest.mark.parametrize("name", BY_PROXY)
def test_a_proxy_passes_on_a_connection_to_the_expected_server_only(
    name: str, context: MeshContext, prod_ca: CA, wrong: Recorder
) -> None:
    ask, speech = BY_PROXY[name], WEBSOCKET if name == "websockets" else HTTP
    with connect_proxy() as proxy, serving(prod_ca.issue(EXPECT), speech) as right:
        assert ask(context, right.port, proxy.port) == ANSWER
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each library has its own
            ask(context, wrong.port, proxy.port)
    refusal = refusal_of(caught.value)
    assert refusal is not None
    assert refusal.reason is Reason.UNEXPECTED_SERVER
    assert len(proxy.asked) == 2
    assert (wrong.connections, wrong.received) == (1, b"")


# -- In plain text --------------------------------------------------------------


@contextlib.contextmanager
def plain_server(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Say what there is to say, in plain text; yield the port, and what comes."""
    heard: list[bytes] = []

    def answer(_: Service, plain: socket.socket) -> None:
        for each in answers:
            if each.startswith(b"220"):
                plain.sendall(each)
                continue
            heard.append(plain.recv(512))
            plain.sendall(each)
        while chunk := plain.recv(512):
            heard.append(chunk)

    with threaded_server(answer) as service:
        yield service.port, heard


def test_asyncpg_says_nothing_to_a_server_that_has_no_tls(context: MeshContext) -> None:
    async def connect(port: int) -> None:
        await asyncpg.connect(host="localhost", port=port, user="payments", database="charges", ssl=context)

    with plain_server(b"N") as (port, heard):
        with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
            asyncio.run(connect(port))
        # SSLRequest (PostgreSQL, section "Message Formats").
        assert heard == [bytes.fromhex("0000000804d2162f")]


def test_smtplib_says_nothing_to_a_server_that_has_no_starttls(context: MeshContext) -> None:
    with (
        plain_server(b"220 mail\r\n", b"250 mail\r\n") as (port, heard),
        smtplib.SMTP("localhost", port, timeout=10) as client,
    ):
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.starttls(context=context)
        assert [line.split()[0] for line in heard] == [b"ehlo"]
        client.close()


# -- To another host ------------------------------------------------------------


def test_asyncpg_asks_the_next_host_and_only_the_expected_server(
    context: MeshContext, prod_ca: CA, dev_ca: CA
) -> None:
    foreign = dev_ca.issue(f"spiffe://prod.example.org{EXPECT}", dns=["localhost"])

    async def connect(*ports: int) -> str:
        connection = await asyncpg.connect(
            host=["localhost"] * len(ports),
            port=list(ports),
            user="payments",
            database="charges",
            ssl=context,
        )
        try:
            return str(await connection.execute("SELECT charge"))
        finally:
            connection.terminate()

    with (
        serving(foreign, POSTGRES, is_wrong=True) as wrong,
        serving(prod_ca.issue(EXPECT), POSTGRES) as right,
    ):
        assert asyncio.run(connect(wrong.port, right.port)) == ANSWER
    assert wrong.received == b""


@pytest.mark.parametrize("follow", [False, True], ids=["as it is", "follow_redirects"])
def test_httpx_follows_a_redirect_to_no_other_server(
    *, follow: bool, context: MeshContext, prod_ca: CA, wrong: Recorder
) -> None:
    location = f"HTTP/1.1 307 Go\r\nLocation: {wrong.url}/\r\nContent-Length: 0\r\n\r\n".encode()

    def redirect(recorder: Recorder, tls: ssl.SSLSocket) -> None:
        while chunk := tls.recv(65536):
            recorder.received += chunk
            tls.sendall(location)

    with (
        serving(prod_ca.issue(EXPECT), Speech(redirect)) as right,
        httpx.Client(verify=context, follow_redirects=follow) as client,
        pytest.raises(httpx.ConnectError) if follow else contextlib.nullcontext(),
    ):
        assert client.post(right.url, content=b"charge").status_code == 307
    assert (wrong.connections, wrong.received) == (int(follow), b"")


# -- What would loosen ----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.cert=:DeprecationWarning")
def test_httpx_shows_no_other_certificate(context: MeshContext, wrong: Recorder) -> None:
    with pytest.raises(TypeError, match="key to the Mesh"):
        httpx.Client(verify=context, cert="other.pem")
    assert wrong.connections == 0


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "HTTPS_PROXY"])
def test_the_environment_makes_no_other_server_the_expected_one(
    name: str, context: MeshContext, wrong: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect_proxy() as proxy:
        monkeypatch.setenv(name, f"http://localhost:{proxy.port}" if name == "HTTPS_PROXY" else "/nowhere")
        with pytest.raises(httpx.ConnectError) as caught, httpx.Client(verify=context) as client:
            client.get(wrong.url)
        assert len(proxy.asked) == (name == "HTTPS_PROXY")
    assert refusal_of(caught.value) is not None
    assert wrong.received == b""
