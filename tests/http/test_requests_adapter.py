"""A session of requests asks the server that is expected, and no other, whatever it is told."""

from __future__ import annotations

import pickle
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import urllib3
from requests.exceptions import ConnectionError as NotConnected
from requests.exceptions import InvalidSchema

from meshid import Mesh, Reason, refusal_of
from meshid.http.requests_adapter import MeshAdapter
from meshid.http.urllib3_retry import RetryUnlessRefused
from meshid.testing import CA, Issued
from tests.helpers.recording import Recorder, connect_proxy, recording
from tests.helpers.tls_peers import HOST, PATH


def plain(issued: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.load_into(context)
    return context


@pytest.fixture
def right(prod_ca: CA) -> Iterator[Recorder]:
    with recording(plain(prod_ca.issue(PATH))) as server:
        yield server


@pytest.fixture
def wrong(prod_ca: CA) -> Iterator[Recorder]:
    """A server of the mesh that is not the one that is expected."""
    with recording(plain(prod_ca.issue("/ns/a/sa/b"))) as server:
        yield server


@pytest.fixture
def adapter(mesh: Mesh) -> MeshAdapter:
    return MeshAdapter(mesh.client_context(PATH))


@pytest.fixture
def session(adapter: MeshAdapter) -> Iterator[requests.Session]:
    """A session that is for the mesh only."""
    with requests.Session() as session:
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        yield session


@pytest.fixture(autouse=True)
def no_settings_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def reason_of(caught: pytest.ExceptionInfo[Exception]) -> Reason | None:
    refusal = refusal_of(caught.value)
    return None if refusal is None else refusal.reason


class TestAsking:
    def test_the_expected_server_answers_on_one_connection(
        self, session: requests.Session, right: Recorder
    ) -> None:
        assert [session.get(right.url).content for _ in range(3)] == [b"hi"] * 3
        assert right.connections == 1

    def test_another_one_sees_no_request_and_the_error_says_why(
        self, session: requests.Session, wrong: Recorder
    ) -> None:
        with pytest.raises(requests.exceptions.SSLError) as caught:
            session.post(wrong.url, data="secret")
        assert reason_of(caught) is Reason.UNEXPECTED_SERVER
        assert (wrong.connections, wrong.received) == (1, b"")

    @pytest.mark.parametrize("where", ["argument", "session", "environment"])
    def test_a_proxy_changes_nothing(
        self,
        where: str,
        session: requests.Session,
        right: Recorder,
        wrong: Recorder,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with connect_proxy() as proxy:
            proxies = {"https": f"http://127.0.0.1:{proxy.port}"}
            if where == "session":
                session.proxies = proxies
            elif where == "environment":
                monkeypatch.setenv("HTTPS_PROXY", proxies["https"])
            given = proxies if where == "argument" else None
            assert session.get(right.url, proxies=given).content == b"hi"
            with pytest.raises(requests.exceptions.SSLError) as caught:
                session.get(wrong.url, proxies=given)
            session.close()
        assert reason_of(caught) is Reason.UNEXPECTED_SERVER
        assert [line.rpartition(" ")[0] for line in proxy.asked] == [
            f"CONNECT localhost:{port}" for port in (right.port, wrong.port)
        ]
        assert wrong.received == b""


class TestLoosening:
    def test_authorities_of_others_are_ignored(
        self,
        session: requests.Session,
        right: Recorder,
        dev_ca: CA,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        file = tmp_path / "dev.pem"
        file.write_bytes(dev_ca.pem)
        with recording(plain(dev_ca.issue(PATH, dns=["localhost"]))) as foreign:
            for name in (str(file), str(tmp_path), "/nowhere"):
                monkeypatch.setenv("REQUESTS_CA_BUNDLE", name)
                for given in (None, name):
                    assert session.get(right.url, verify=given).content == b"hi"
                    with pytest.raises(requests.exceptions.SSLError):
                        session.get(foreign.url, verify=given)
        assert foreign.received == b""

    def test_verify_false_is_an_error(self, session: requests.Session, right: Recorder) -> None:
        with pytest.raises(ValueError, match="verify=False: a MeshAdapter verifies"):
            session.get(right.url, verify=False)
        session.verify = False
        with pytest.raises(ValueError, match="verify=False: a MeshAdapter verifies"):
            session.get(right.url)
        assert right.connections == 0

    def test_so_is_another_certificate(self, session: requests.Session, right: Recorder) -> None:
        session.cert = "other.pem"
        with pytest.raises(ValueError, match="cert: a MeshAdapter shows the certificate of its Mesh"):
            session.get(right.url)
        assert right.connections == 0

    def test_so_is_plain_http(self, session: requests.Session, right: Recorder) -> None:
        with pytest.raises(InvalidSchema, match=r"speaks TLS only, and so not to 'http://localhost:\d+/a'"):
            session.get(f"http://localhost:{right.port}/a")
        assert right.connections == 0

    def test_a_context_of_another_kind_is_none(self, mesh: Mesh) -> None:
        with pytest.raises(
            TypeError, match=r"context must be a context from Mesh.client_context\(\), not SSLC"
        ):
            MeshAdapter(ssl.create_default_context())  # type: ignore[arg-type]  # the mistake
        with pytest.raises(ValueError, match="context must be one for clients"):
            MeshAdapter(mesh.server_context())

    def test_a_copy_would_have_no_context(self, session: requests.Session) -> None:
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            pickle.dumps(session)


class TestRedirects:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_session_for_the_mesh_only_follows_to_no_stranger(
        self, scheme: str, session: requests.Session, prod_ca: CA, wrong: Recorder
    ) -> None:
        answer = (
            f"HTTP/1.1 307 Go\r\nLocation: {scheme}://localhost:{wrong.port}/\r\nContent-Length: 0\r\n\r\n"
        )

        def redirect(recorder: Recorder, tls: ssl.SSLSocket) -> None:
            while chunk := tls.recv(65536):
                recorder.received += chunk
                tls.sendall(answer.encode())

        with recording(plain(prod_ca.issue(PATH)), redirect) as right:
            with pytest.raises(requests.exceptions.RequestException) as caught:
                session.post(right.url, data="secret")
            session.close()
        assert right.received.endswith(b"secret")
        assert (wrong.connections, wrong.received) == (int(scheme == "https"), b"")
        assert reason_of(caught) is (Reason.UNEXPECTED_SERVER if scheme == "https" else None)


class TestRetries:
    def test_a_refusal_is_not_retried(self, mesh: Mesh, wrong: Recorder) -> None:
        with requests.Session() as session:
            session.mount("https://", MeshAdapter(mesh.client_context(PATH), max_retries=3))
            with pytest.raises(requests.exceptions.SSLError) as caught:
                session.get(wrong.url)
        assert reason_of(caught) is Reason.UNEXPECTED_SERVER
        assert wrong.connections == 1

    @pytest.mark.parametrize("retries", [0, 2])
    def test_all_else_is(self, retries: int, mesh: Mesh) -> None:
        with socket.create_server((HOST, 0)) as closed:
            port = closed.getsockname()[1]
        with requests.Session() as session:
            session.mount("https://", MeshAdapter(mesh.client_context(PATH), max_retries=retries))
            with pytest.raises(NotConnected, match="Max retries exceeded") as caught:
                session.get(f"https://{HOST}:{port}")
        assert reason_of(caught) is None

    def test_urllib3_asks_a_refused_server_four_times_and_once_with_ours(
        self, mesh: Mesh, wrong: Recorder
    ) -> None:
        context = mesh.client_context(PATH)
        with urllib3.PoolManager(ssl_context=context) as pool:
            with pytest.raises(urllib3.exceptions.MaxRetryError):
                pool.request("GET", wrong.url)
            assert wrong.connections == 4
            with pytest.raises(urllib3.exceptions.SSLError) as caught:
                pool.request("GET", wrong.url, retries=RetryUnlessRefused(3))
            assert wrong.connections == 5
        assert reason_of(caught) is Reason.UNEXPECTED_SERVER
        assert wrong.received == b""
