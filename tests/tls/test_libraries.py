"""The clients of the standard library, urllib3 and requests take a context as it is."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from typing_extensions import override

from meshid import Mesh, MeshContext, Reason
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import HOST, PATH, Heard, Service, threaded_server

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"

Get = Callable[[int, MeshContext], bytes]


class Mounted(HTTPAdapter):
    """The way to give requests a context."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    @override
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)


def with_http_client(port: int, context: MeshContext) -> bytes:
    connection = http.client.HTTPSConnection(HOST, port, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read()


def with_urllib_request(port: int, context: MeshContext) -> bytes:
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context) as response:
        content: bytes = response.read()
        return content


def with_urllib3(port: int, context: MeshContext, **options: Any) -> bytes:  # noqa: ANN401 - urllib3's own
    with urllib3.PoolManager(ssl_context=context, retries=False, **options) as pool:
        return pool.request("GET", f"https://localhost:{port}/").data


def with_urllib3_told_of_no_host_names(port: int, context: MeshContext) -> bytes:
    return with_urllib3(port, context, assert_hostname=False)


def with_requests(port: int, context: MeshContext, **options: Any) -> bytes:  # noqa: ANN401 - requests' own
    with requests.Session() as session:
        session.mount("https://", Mounted(context))
        return session.get(f"https://localhost:{port}/", timeout=10, **options).content


CLIENTS: dict[str, Get] = {
    "http.client": with_http_client,
    "urllib.request": with_urllib_request,
    "urllib3": with_urllib3,
    "urllib3 with assert_hostname=False": with_urllib3_told_of_no_host_names,
    "requests": with_requests,
}


@contextlib.contextmanager
def website(issued: Issued) -> Iterator[Service]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.load_into(context)

    def answer(service: Service, plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            # A client that refuses us has sent nothing.
            if request := tls.recv(65536):
                service.seen.append(request)
                tls.sendall(ANSWER)

    with threaded_server(answer) as service:
        yield service


@pytest.mark.parametrize("get", CLIENTS.values(), ids=CLIENTS)
class TestClients:
    def test_the_expected_server_answers(self, get: Get, mesh: Mesh, heard: Heard, prod_ca: CA) -> None:
        context = mesh.client_context([PATH])
        with website(prod_ca.issue(PATH)) as service:
            for _ in range(2):
                assert get(service.port, context) == b"hi"
                assert heard.reason() is Reason.EXPECTED
        assert context.check_hostname
        assert len(context.get_ca_certs()) == 1

    @pytest.mark.parametrize("foreign", [False, True], ids=["another peer", "an unknown authority"])
    def test_another_one_sees_no_request(  # noqa: PLR0913  # fixtures
        self, get: Get, *, foreign: bool, mesh: Mesh, heard: Heard, prod_ca: CA, dev_ca: CA
    ) -> None:
        other = dev_ca.issue(f"spiffe://prod.example.org{PATH}") if foreign else prod_ca.issue("/ns/a/sa/b")
        with website(other) as service, pytest.raises((OSError, urllib3.exceptions.HTTPError)):
            get(service.port, mesh.client_context([PATH]))
        assert service.seen == []
        assert heard.reason() is (Reason.UNKNOWN_AUTHORITY if foreign else Reason.UNEXPECTED_SERVER)


class TestWhatIsAskedForOnPurpose:
    def test_verify_false_is_an_error(self, mesh: Mesh, prod_ca: CA) -> None:
        with website(prod_ca.issue(PATH)) as service:
            with pytest.raises(ValueError, match="verify_mode of a MeshContext cannot be"):
                with_requests(service.port, mesh.client_context([PATH]), verify=False)
            with pytest.raises(ValueError, match="verify_mode of a MeshContext cannot be"):
                with_urllib3(service.port, mesh.client_context([PATH]), cert_reqs="CERT_NONE")
        assert service.seen == []

    def test_so_is_another_certificate(self, mesh: Mesh, prod_ca: CA, tmp_path: Path) -> None:
        issued, file = prod_ca.issue("/ns/a/sa/b"), tmp_path / "client.pem"
        file.write_bytes(issued.key_pem + issued.chain_pem)
        with website(prod_ca.issue(PATH)) as service, pytest.raises(TypeError, match="key to the Mesh"):
            with_requests(service.port, mesh.client_context([PATH]), cert=str(file))
        assert service.seen == []
