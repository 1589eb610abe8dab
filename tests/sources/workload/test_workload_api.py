"""The Workload API: each message is the whole state; a failure leaves the last good one in force."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_crl

from meshid import Mesh, MissingExtra, Revocations
from meshid.errors import InvalidInput
from meshid.sources import SourceUnavailable, State, WorkloadApi
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource
from tests.helpers.mounted import OWN, alarms, eventually, hurry
from tests.helpers.processes import UNMEASURED
from tests.helpers.tls_peers import PATH, policy
from tests.helpers.workload_agent import Agent, authorities, message, pkcs8


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "agent.sock")
    yield agent
    agent.stop()


@pytest.fixture
def source(agent: Agent) -> Iterator[WorkloadApi]:
    source = WorkloadApi(agent.address)
    yield source
    source.close()


def der(crl: bytes) -> bytes:
    return load_pem_x509_crl(crl).public_bytes(serialization.Encoding.DER)


def fault(source: WorkloadApi) -> str:
    with pytest.raises(SourceUnavailable) as caught:
        source.read()
    assert str(caught.value).isprintable()
    return str(caught.value).removeprefix(f"{source.name}: ")


class TestMessages:
    def test_one_is_a_whole_state(self, agent: Agent, source: WorkloadApi, prod_ca: CA) -> None:
        issued, partner, crl = prod_ca.intermediate().issue(OWN), CA("partner.example"), der(prod_ca.crl())
        federated = {"spiffe://partner.example": authorities(partner.bundle())}
        agent.send(message(prod_ca, issued, federated=federated, crls=(crl,)))
        assert source.read() == State(
            credentials=issued.svid,
            bundles=(prod_ca.bundle(), partner.bundle()),
            revocations=Revocations(crls=[crl]),
        )
        assert source.pause() == 0.0
        assert agent.metadata["workload.spiffe.io"] == "true"
        assert source.name == f"Workload API {agent.address!r}"

    def test_what_is_absent_from_the_next_is_removed(
        self, agent: Agent, source: WorkloadApi, prod_ca: CA
    ) -> None:
        first, second = prod_ca.issue(OWN), prod_ca.issue(OWN)
        federated = {"partner.example": authorities(CA("partner.example").bundle())}
        agent.send(message(prod_ca, first, federated=federated, crls=(der(prod_ca.crl()),)))
        assert len(source.read().bundles) == 2
        agent.send(message(prod_ca, second))
        assert source.read() == State(credentials=second.svid, bundles=(prod_ca.bundle(),))
        assert agent.calls == 1

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            (
                {"name": "spiffe://prod.example.org"},
                "own certificate: its SPIFFE ID is spiffe://prod.example.org/ns/pay",
            ),
            ({"name": "payments"}, "SVID 1 is left out: 'payments' does not begin with 'spiffe://'"),
            ({"name": ""}, "SVID 1 is left out: '' does not begin with 'spiffe://'"),
            ({"key": b"junk"}, "own certificate: the private key cannot be read: it is damaged"),
            ({"key": b""}, "own certificate: the private key cannot be read: it is damaged"),
            ({"chain": b"junk"}, "own certificate: it is not DER certificates, one after the other"),
            ({"chain": b""}, "own certificate: there is no certificate"),
            ({"chain": b"\x30\x82\xff"}, "own certificate: it is not DER certificates, one after the other"),
            ({"chain": b"\x30\x00"}, "own certificate: not a certificate that can be read: "),
            ({"chain": b"\x30"}, "own certificate: it is not DER certificates, one after the other"),
            (
                {"bundle": b"junk"},
                "bundle of prod.example.org: it is not DER certificates, one after the other",
            ),
            ({"bundle": b""}, "bundle of prod.example.org: no certificate in it can be an authority"),
        ],
    )
    def test_one_that_cannot_be_used_is_an_error_and_the_stream_goes_on(
        self,
        agent: Agent,
        source: WorkloadApi,
        prod_ca: CA,
        wrong: dict[str, object],
        expected: str,
    ) -> None:
        issued = prod_ca.issue(OWN)
        agent.send(message(prod_ca, issued, **wrong))  # type: ignore[arg-type]  # what is wrong with it
        assert fault(source).startswith(expected)
        assert source.pause() == 0.0
        agent.send(message(prod_ca, issued))
        assert source.read().credentials == issued.svid
        assert agent.calls == 1

    def test_the_key_of_another(self, agent: Agent, source: WorkloadApi, prod_ca: CA) -> None:
        agent.send(message(prod_ca, prod_ca.issue(OWN), chain=b"".join(prod_ca.issue(OWN).chain)))
        assert fault(source).startswith(
            "own certificate: the private key is not that of the first certificate"
        )

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"", "the response has no X509-SVID"),
            (b"\xff\xff", "the response cannot be decoded: DecodeError"),
        ],
    )
    def test_bytes_that_are_not_an_answer(
        self, agent: Agent, source: WorkloadApi, data: bytes, expected: str
    ) -> None:
        agent.send(data)
        assert fault(source) == expected

    def test_no_private_key_is_kept_in_the_traceback(
        self, agent: Agent, source: WorkloadApi, prod_ca: CA
    ) -> None:
        issued = prod_ca.issue(OWN)
        agent.send(message(prod_ca, issued, chain=b"junk"))
        with pytest.raises(SourceUnavailable) as caught:
            source.read()
        assert caught.value.__context__ is None
        ours = [frame.frame.f_locals for frame in caught.traceback[1:]]
        assert ours
        kept = [value for each in ours for value in each.values() if isinstance(value, bytes)]
        assert not any(pkcs8(issued) in value for value in kept)
        assert "x509_svid_key" not in repr(ours)


class TestAgent:
    @pytest.mark.parametrize(
        ("end", "expected"),
        [
            (None, "the agent has ended the stream"),
            (grpc.StatusCode.CANCELLED, "CANCELLED: 'as the test wants'"),
        ],
    )
    def test_the_end_of_the_stream_is_an_error_and_the_next_read_opens_another(
        self, agent: Agent, source: WorkloadApi, prod_ca: CA, end: grpc.StatusCode | None, expected: str
    ) -> None:
        issued = prod_ca.issue(OWN)
        for _ in range(2):
            agent.send(message(prod_ca, issued))
            source.read()
            agent.send(end)
            assert fault(source) == expected
            # A good message makes the next pause a short one again.
            assert 0.8 <= source.pause() <= 1.2
        agent.send(message(prod_ca, issued))
        assert source.read().credentials == issued.svid
        assert agent.calls == 3

    def test_without_an_identity_yet_it_is_asked_again(
        self, agent: Agent, source: WorkloadApi, prod_ca: CA
    ) -> None:
        agent.send(grpc.StatusCode.PERMISSION_DENIED)
        assert fault(source) == (
            "PERMISSION_DENIED: 'as the test wants': the agent has no identity for this process yet;"
            " has it a registration entry?"
        )
        assert 0.8 <= source.pause() <= 1.2
        issued = prod_ca.issue(OWN)
        agent.send(message(prod_ca, issued))
        assert source.read().credentials == issued.svid
        agent.send(grpc.StatusCode.PERMISSION_DENIED)
        assert fault(source) == (
            "PERMISSION_DENIED: 'as the test wants': the agent has no identity for this process any more;"
            f" the last one stays until {issued.certificate.not_valid_after_utc}"
        )
        assert 0.8 <= source.pause() <= 1.2

    @pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED])
    def test_what_can_never_work_is_not_asked_again(
        self, agent: Agent, source: WorkloadApi, code: grpc.StatusCode
    ) -> None:
        agent.send(code)
        for _ in range(2):
            with pytest.raises(InvalidInput) as caught:
                source.read()
            assert str(caught.value) == (
                f"{source.name}: {code.name}: 'as the test wants': is this the address of a Workload API?"
                " meshid does not ask again: correct it, and restart this process"
            )
            assert source.pause() == 1.0
        assert agent.calls == 1

    def test_a_mesh_does_not_wait_for_it_at_the_start(
        self, agent: Agent, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("meshid.sources.workload.workload_api._FIRST_PAUSE", 0.02)
        agent.send(grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(SourceUnavailable, match=r"INVALID_ARGUMENT: .* does not ask again"):
            Mesh.from_sources([WorkloadApi(agent.address)], timeout=600)
        assert agent.calls == 1

    def test_an_agent_that_is_not_there_is_asked_less_and_less_often(self, tmp_path: Path) -> None:
        source = WorkloadApi(f"unix://{tmp_path}/gone.sock")
        pauses = []
        for _ in range(7):
            assert fault(source).startswith("UNAVAILABLE: ")
            pauses.append(source.pause())
        for pause, mean in zip(pauses, (1, 2, 4, 8, 16, 30, 30), strict=True):
            assert 0.8 * mean <= pause <= 1.2 * mean
        source.close()

    def test_one_that_is_restarted_is_found_again(
        self, agent: Agent, source: WorkloadApi, prod_ca: CA
    ) -> None:
        issued = prod_ca.issue(OWN)
        agent.send(message(prod_ca, issued))
        source.read()
        agent.stop()
        fault(source)
        agent.start()
        agent.send(message(prod_ca, issued))
        assert source.read().credentials == issued.svid

    def test_a_read_that_waits_ends_when_it_is_closed(self, agent: Agent, source: WorkloadApi) -> None:
        faults: list[str] = []
        waiting = threading.Thread(target=lambda: faults.append(fault(source)))
        waiting.start()
        assert eventually(lambda: agent.calls == 1)
        source.close()
        waiting.join(10)
        assert faults == ["CANCELLED: 'Locally cancelled by application!'"]
        assert fault(source).startswith("CANCELLED: ")
        source.close()


class TestAddress:
    @pytest.mark.parametrize("ip", ["127.0.0.1", "[::1]"])
    def test_it_may_be_that_of_a_port(self, ip: str, prod_ca: CA, monkeypatch: pytest.MonkeyPatch) -> None:
        # Where a web proxy is set, gRPC would hand it our private key.
        for name in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        agent, issued = Agent(ip), prod_ca.issue(OWN)
        source = WorkloadApi(agent.address)
        assert source.name.startswith(f"Workload API 'tcp://{ip}:")
        agent.send(message(prod_ca, issued))
        assert source.read().credentials == issued.svid
        source.close()
        agent.stop()

    def test_it_may_be_in_the_environment(self) -> None:
        assert WorkloadApi(environ={"SPIFFE_ENDPOINT_SOCKET": "unix:///x"}).name == "Workload API 'unix:///x'"
        with pytest.raises(
            InvalidInput, match=r"^the Workload API has no address: pass one, or set SPIFFE_ENDPOINT_SOCKET$"
        ):
            WorkloadApi(environ={})

    def test_it_is_checked_at_once(self) -> None:
        with pytest.raises(InvalidInput, match=r"^'/run/agent\.sock' is not the address of a"):
            WorkloadApi("/run/agent.sock")

    def test_without_the_extra_it_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "grpc", None)
        with pytest.raises(MissingExtra, match=r"pip install 'spiffe>=0\.3\.2,<0\.4' \(the extra 'spire'"):
            WorkloadApi("unix:///x")


class TestMesh:
    def test_it_is_kept_up_to_date_by_the_agent_and_survives_it(
        self, agent: Agent, prod_ca: CA, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        hurry(monkeypatch)
        monkeypatch.setattr("meshid.sources.workload.workload_api._FIRST_PAUSE", 0.02)
        monkeypatch.setattr("meshid.sources.workload.workload_api._LAST_PAUSE", 0.1)
        first, second, third = (prod_ca.issue(OWN) for _ in range(3))
        rules = FakeSource("policy", State(policy=policy()))
        agent.send(message(prod_ca, first))
        with Mesh.from_sources([WorkloadApi(agent.address), rules], service="payments") as mesh:
            chain = prod_ca.issue(PATH).chain
            mesh.admit(chain)
            agent.send(message(prod_ca, second))
            assert eventually(lambda: mesh.snapshot.credentials == second.svid)
            # Garbage is an alarm, though no message comes after it.
            agent.send(message(prod_ca, second, key=b"junk"))
            assert eventually(lambda: "private key cannot be read" in str(mesh.health().alarms))
            agent.stop()
            assert eventually(lambda: alarms(caplog))
            mesh.admit(chain)
            assert mesh.snapshot.credentials == second.svid
            agent.start()
            agent.send(message(prod_ca, third, crls=(der(prod_ca.crl(prod_ca.issue(PATH))),)))
            assert eventually(lambda: mesh.snapshot.credentials == third.svid)
            assert len(mesh.snapshot.revocations.crls) == 1
            assert eventually(lambda: mesh.health().alarms == ())


FORKING = """
import os, sys
sys.path[:0] = {path!r}
from meshid.sources import SourceUnavailable, WorkloadApi
source = WorkloadApi(sys.argv[1])
source.read()
child = os.fork()
if child == 0:
    for _ in range(2):
        try:
            source.read()
        except SourceUnavailable as fault:
            print(fault, source.pause() > 0.5, flush=True)
        source.close()
    os._exit(0)
os.waitpid(child, 0)
source.close()
"""


def test_a_forked_child_says_that_it_cannot_go_on(agent: Agent, prod_ca: CA) -> None:
    agent.send(message(prod_ca, prod_ca.issue(OWN)))
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING.format(path=sys.path), agent.address],
        env={**UNMEASURED, "GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = "gRPC does not survive a fork: make the mesh in the worker process, or spawn it"
    assert ended.stdout.splitlines() == [f"Workload API {agent.address!r}: {expected} True"] * 2


def test_in_a_forked_child_nothing_of_grpc_is_touched(
    agent: Agent, source: WorkloadApi, prod_ca: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.send(message(prod_ca, prod_ca.issue(OWN)))
    source.read()
    with monkeypatch.context() as child:
        child.setattr("meshid.sources.workload.workload_api.os.getpid", lambda: -1)
        assert fault(source).startswith("gRPC does not survive a fork: ")
        assert source.pause() > 0.5
        source.close()
    # The parent's stream is as it was.
    agent.send(message(prod_ca, prod_ca.issue(OWN)))
    source._is_closed = False  # noqa: SLF001 - it is the child's copy that was closed
    assert source.read().bundles == (prod_ca.bundle(),)
