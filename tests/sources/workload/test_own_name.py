"""Our own name, end to end: neither an entry that is added at an agent nor a file changes it in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from meshid import Mesh, TrustDomain
from meshid.certificates.reading import extension
from meshid.sources import CredentialFiles, Source, SourceUnavailable, State, WorkloadApi
from meshid.testing import CA
from tests.helpers.fake_sources import FakeSource
from tests.helpers.mounted import alarms, eventually
from tests.helpers.tls_peers import PATH, POLICY, blocking_server, knock, policy
from tests.helpers.workload_agent import Agent, authorities, response, svid

A, B = "/ns/pay/sa/a", "/ns/pay/sa/b"
PROD = "spiffe://prod.example.org"
NO_PIN = f"own SPIFFE ID: is {PROD}{B}, and was {PROD}{A} at the start; MESHID_SPIFFE_ID pins it"
PARTNER = TrustDomain("partner.example")


pytestmark = pytest.mark.usefixtures("hurried")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path / "agent.sock")
    yield agent
    agent.stop()


def offer(ca: CA, *offered: str, partner: CA | None = None) -> bytes:
    """Return a message with a new SVID for each name; a hint may follow after a blank."""
    names = [each.partition(" ") for each in offered]
    svids = [svid(ca, ca.issue(name), hint=hint) for name, _, hint in names]
    federated = {} if partner is None else {str(PARTNER): authorities(partner.bundle())}
    return response(*svids, federated=federated)


def following(ca: CA, source: Source, *, spiffe_id: str | None = None) -> Mesh:
    rest = FakeSource("policy", State(policy=policy()))
    if isinstance(source, CredentialFiles):
        rest.now = State(policy=policy(), bundles=(ca.bundle(),))
    return Mesh.from_sources([source, rest], service="payments", spiffe_id=spiffe_id, timeout=5)


def presented(mesh: Mesh, ca: CA) -> str:
    """Return the name in the certificate that a client is shown, in a real handshake."""
    with blocking_server(mesh.server_context()) as service:
        leaf = knock(service.port, ca.issue(PATH).client_context()).presented
    assert leaf is not None
    names = extension(x509.load_der_x509_certificate(leaf), x509.SubjectAlternativeName)
    assert names is not None
    (name,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return str(name).removeprefix(PROD)


def told(mesh: Mesh) -> list[str]:
    return [str(alarm) for alarm in mesh.health().alarms]


def renewed(mesh: Mesh, agent: Agent, message: bytes) -> bool:
    """Send a message, and tell whether a new certificate of ours is in force after it."""
    before = mesh.snapshot.credentials
    agent.send(message)
    return eventually(lambda: mesh.snapshot.credentials != before)


def test_another_entry_does_not_change_it_while_ours_is_there(agent: Agent, prod_ca: CA) -> None:
    agent.send(offer(prod_ca, A))
    with following(prod_ca, WorkloadApi(agent.address)) as mesh:
        assert renewed(mesh, agent, offer(prod_ca, B, A))
        assert presented(mesh, prod_ca) == A
        assert told(mesh) == []


def test_where_ours_is_gone_it_changes_with_an_alarm(
    agent: Agent, prod_ca: CA, caplog: pytest.LogCaptureFixture
) -> None:
    agent.send(offer(prod_ca, A))
    with following(prod_ca, WorkloadApi(agent.address)) as mesh:
        assert renewed(mesh, agent, offer(prod_ca, B))
        assert presented(mesh, prod_ca) == B
        assert told(mesh) == [NO_PIN]
        assert eventually(lambda: NO_PIN in alarms(caplog))
        # As long as another name is in force, whatever the agent has added.
        assert renewed(mesh, agent, offer(prod_ca, A, B))
        assert told(mesh) == [NO_PIN]
        assert renewed(mesh, agent, offer(prod_ca, A))
        assert (presented(mesh, prod_ca), told(mesh)) == (A, [])


def test_where_it_is_pinned_an_agent_that_swaps_it_is_an_alarm_and_no_more(agent: Agent, prod_ca: CA) -> None:
    agent.send(offer(prod_ca, B, A, partner=CA(str(PARTNER))))
    source = WorkloadApi(agent.address, spiffe_id=f"{PROD}{A}")
    with following(prod_ca, source, spiffe_id=f"{PROD}{A}") as mesh:
        assert presented(mesh, prod_ca) == A
        before = mesh.snapshot.credentials
        # In the same message a partner is removed, which it must not hold up.
        agent.send(offer(prod_ca, B))
        assert eventually(lambda: PARTNER not in mesh.snapshot.bundles)
        assert mesh.snapshot.credentials == before
        said = f"no SVID of the agent has the SPIFFE ID {PROD}{A}; it offers {PROD}{B}"
        assert eventually(lambda: any(said in each for each in told(mesh)))
        assert renewed(mesh, agent, offer(prod_ca, A))
        assert eventually(lambda: told(mesh) == [])


def test_a_name_that_the_agent_has_chosen_and_we_do_not_expect_is_refused_at_the_start(
    agent: Agent, prod_ca: CA
) -> None:
    agent.send(offer(prod_ca, B, A))
    said = f"its SPIFFE ID is {PROD}{B}, and must be {PROD}{A}"
    with pytest.raises(SourceUnavailable, match=said):
        following(prod_ca, WorkloadApi(agent.address), spiffe_id=f"{PROD}{A}").close()


def test_a_hint_chooses(agent: Agent, prod_ca: CA) -> None:
    agent.send(offer(prod_ca, A, f"{B} web"))
    with following(prod_ca, WorkloadApi(agent.address, hint="web")) as mesh:
        assert presented(mesh, prod_ca) == B
        assert renewed(mesh, agent, offer(prod_ca, f"{A} web", f"{B} web"))
        assert presented(mesh, prod_ca) == B
        before = mesh.snapshot.credentials
        agent.send(offer(prod_ca, A, B))
        said = "no SVID of the agent has the hint 'web'"
        assert eventually(lambda: any(said in each for each in told(mesh)))
        assert mesh.snapshot.credentials == before


def test_a_picker_chooses(agent: Agent, prod_ca: CA) -> None:
    agent.send(offer(prod_ca, A, B))
    source = WorkloadApi(agent.address, pick=max)
    with following(prod_ca, source) as mesh:
        assert presented(mesh, prod_ca) == B
        assert renewed(mesh, agent, offer(prod_ca, f"{A} x", f"{B} y"))
        assert presented(mesh, prod_ca) == B


def test_a_picker_decides_alone() -> None:
    said = r"^pick decides alone: leave out spiffe_id and hint$"
    with pytest.raises(TypeError, match=said):
        WorkloadApi("unix:///x", pick=max, spiffe_id=f"{PROD}{A}")
    with pytest.raises(TypeError, match=said):
        WorkloadApi("unix:///x", pick=max, hint="x")


@pytest.mark.parametrize(
    ("setting", "value", "name"), [("MESHID_SVID_HINT", "web", B), ("MESHID_SPIFFE_ID", f"{PROD}{B}", B)]
)
def test_settings_name_it(setting: str, value: str, name: str, prod_ca: CA, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text(POLICY)
    agent = Agent("127.0.0.1")
    agent.send(offer(prod_ca, A, f"{B} web"))
    environ = {
        "MESHID_WORKLOAD_API": agent.address,
        "MESHID_POLICY": str(tmp_path / "policy.toml"),
        "MESHID_ENVIRONMENT": "prod",
        "MESHID_SERVICE": "payments",
        setting: value,
    }
    with Mesh.from_env(environ) as mesh:
        assert presented(mesh, prod_ca) == name
    agent.stop()


@pytest.mark.parametrize("pin", [None, f"{PROD}{A}"])
def test_in_files_it_is_the_same(pin: str | None, prod_ca: CA, tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    first, second = prod_ca.issue(A), prod_ca.issue(B)
    file.write_bytes(first.chain_pem + first.key_pem)
    with following(prod_ca, CredentialFiles(file), spiffe_id=pin) as mesh:
        new = tmp_path / "new.pem"
        new.write_bytes(second.chain_pem + second.key_pem)
        new.replace(file)
        said = NO_PIN if pin is None else f"its SPIFFE ID is {PROD}{B}, and must be {PROD}{A}"
        assert eventually(lambda: any(said in each for each in told(mesh)))
        assert presented(mesh, prod_ca) == (B if pin is None else A)
