"""The figures arrive in Prometheus and in OpenTelemetry, and none is about one peer."""

from __future__ import annotations

import subprocess
import sys
import threading

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from meshid import BundleSet, Mesh, PeerRejected, Revocations, TrustBundle
from meshid.metrics import to_opentelemetry, to_prometheus
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.sources import SourceUnavailable, State
from meshid.testing import CA
from meshid.tokens.key_set import KeySet, KeySets
from tests.helpers.forged import edited_list
from tests.helpers.issuers import policy_with
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import PATH, mesh_of, policy
from tests.helpers.world import HOUR, Clock


@pytest.fixture
def mesh(prod_ca: CA, clock: Clock) -> Mesh:
    """A mesh that has admitted a peer twice, and refused another."""
    lists = [prod_ca.crl(next_update=clock.now + hours * HOUR) for hours in (5, 2, 3)]
    empty = TrustBundle.from_spiffe_json("dev.example.org", b'{"keys": []}')
    bundles = BundleSet([prod_ca.bundle(), empty])
    mesh = mesh_of(prod_ca, bundles=bundles, revocations=Revocations(crls=lists))
    for _ in range(2):
        mesh.admit(prod_ca.issue(PATH).chain)
    with pytest.raises(PeerRejected):
        mesh.admit(CA("elsewhere.example").issue(PATH).chain)
    return mesh


def in_prometheus(mesh: Mesh) -> dict[str, float]:
    registry = CollectorRegistry()
    to_prometheus(mesh, registry)
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def in_opentelemetry(mesh: Mesh) -> dict[str, list[tuple[dict[str, object], float]]]:
    reader = InMemoryMetricReader()
    to_opentelemetry(mesh, MeterProvider([reader]).get_meter("meshid"))
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    return {
        metric.name: [(dict(point.attributes or {}), point.value) for point in metric.data.data_points]  # type: ignore[union-attr]
        for metric in metrics
    }


def test_prometheus(mesh: Mesh, prod_ca: CA, clock: Clock) -> None:
    figures = in_prometheus(mesh)
    own = mesh.snapshot.credentials
    assert own is not None
    issuer = 'meshid_crl_next_update_timestamp_seconds{issuer="CN=root,O=prod.example.org"}'
    assert figures == {
        'meshid_peer_decisions_total{call="admit",decision="allow",direction="inbound",reason="allowed"}': 2,
        (
            'meshid_peer_decisions_total{call="admit",decision="deny",direction="inbound",'
            'reason="unknown_trust_domain"}'
        ): 1,
        "meshid_verify_cache_hits": 0,
        "meshid_verify_cache_misses": 3,
        "meshid_ready": 1,
        'meshid_alarms{level="warning"}': 0,
        'meshid_alarms{level="error"}': 0,
        "meshid_connections": 0,
        "meshid_generation": 1,
        "meshid_credential_not_after_timestamp_seconds": own.leaf.not_valid_after_utc.timestamp(),
        'meshid_trust_anchor_not_after_timestamp_seconds{trust_domain="prod.example.org"}': (
            prod_ca.certificate.not_valid_after_utc.timestamp()
        ),
        issuer: (clock.now + 2 * HOUR).timestamp(),
        f'meshid_policy_info{{environment="prod",hash="{policy().hash}"}}': 1,
    }


def test_opentelemetry(mesh: Mesh) -> None:
    figures = in_opentelemetry(mesh)
    assert figures["meshid.connections"] == [({}, 0)]
    assert figures["meshid.policy.info"] == [({"environment": "prod", "hash": policy().hash}, 1)]
    counts = {labels["reason"]: value for labels, value in figures["meshid.peer.decisions"]}
    assert counts == {"allowed": 2, "unknown_trust_domain": 1}
    assert figures["meshid.ready"] == [({}, 1)]
    assert figures["meshid.alarms"] == [({"level": "warning"}, 0), ({"level": "error"}, 0)]


def test_a_mesh_that_is_not_ready(mesh: Mesh) -> None:
    mesh.publish(policy=None)
    figures = in_prometheus(mesh)
    assert figures["meshid_ready"] == 0
    assert figures['meshid_alarms{level="error"}'] == 1
    assert in_opentelemetry(mesh)["meshid.ready"] == [({}, 0)]


def test_a_mesh_with_nothing_has_few_figures() -> None:
    assert set(in_prometheus(Mesh())) == {
        "meshid_verify_cache_hits",
        "meshid_verify_cache_misses",
        "meshid_ready",
        'meshid_alarms{level="warning"}',
        'meshid_alarms{level="error"}',
        "meshid_connections",
        "meshid_generation",
    }


def test_until_when_the_keys_of_each_issuer_count(prod_ca: CA) -> None:
    one = Issuer(
        name="one", profile=IssuerProfile.OIDC, issuer="https://a.example", audience=("x",), principal="sub"
    )
    two, endless = (
        attrs.evolve(one, name=name, issuer=f"https://{name}.example") for name in ("two", "endless")
    )
    spire = attrs.evolve(one, name="spire", profile=IssuerProfile.JWT_SVID, issuer=None)
    keys = KeySets([KeySet(issuer="one", serve_until=1.8e9), KeySet(issuer="endless"), KeySet(issuer="gone")])
    figures = in_prometheus(mesh_of(prod_ca, policy=policy_with(one, two, endless, spire), keys=keys))
    found = {name: value for name, value in figures.items() if "keys" in name}
    begin = "meshid_token_keys_serve_until_timestamp_seconds"
    assert found == {f'{begin}{{issuer="one"}}': 1.8e9, f'{begin}{{issuer="two"}}': 0.0}


def test_a_list_without_an_end_has_no_figure(prod_ca: CA) -> None:
    endless = edited_list(prod_ca.crl(), prod_ca, {4: b""})
    mesh = mesh_of(prod_ca, revocations=Revocations(crls=[endless]))
    assert not any("crl" in name for name in in_prometheus(mesh))


class Partner:
    """A source that fails every other time."""

    name = "partner"
    is_required = False
    is_stream = False

    def __init__(self, ca: CA) -> None:
        self.bundle = ca.bundle()
        self.reads = 0
        self.enough = threading.Event()

    def read(self) -> State:
        self.reads += 1
        if self.reads == 4:
            self.enough.set()
        if self.reads % 2:
            raise SourceUnavailable(self.name)
        return State(bundles=(self.bundle,))

    def pause(self) -> float:
        return 60.0 if self.enough.is_set() else 0.0

    def close(self) -> None:
        self.enough.set()


class Gone(Partner):
    """A source that always fails."""

    name = "gone"

    def read(self) -> State:
        raise SourceUnavailable(self.name)


def test_the_readings_of_sources(prod_ca: CA) -> None:
    partner, gone = Partner(prod_ca), Gone(prod_ca)
    gone.enough.set()
    with Mesh.from_sources([partner, gone]) as mesh:
        assert partner.enough.wait(10)
        figures = in_prometheus(mesh)
        while figures['meshid_reload_total{result="success",source="partner"}'] < 2:
            figures = in_prometheus(mesh)
        assert figures['meshid_reload_total{result="failure",source="partner"}'] == 2
        assert 'meshid_last_successful_reload_timestamp_seconds{source="gone"}' not in figures
        assert figures['meshid_last_successful_reload_timestamp_seconds{source="partner"}'] > 1e9


class Named(Partner):
    """A source with a place in its name, which is never read again."""

    def __init__(self, name: str, ca: CA | None = None) -> None:
        super().__init__(ca or CA("elsewhere.example"))
        self.name = name
        self.enough.set()
        self.works = ca is not None

    def read(self) -> State:
        if not self.works:
            raise SourceUnavailable(self.name)
        return State(bundles=(self.bundle,))


def test_no_label_has_a_path_or_a_url() -> None:
    sources = [
        Named("trust of a.example '/etc/mesh/a.pem'", CA("a.example")),
        Named("trust of a.example '/etc/mesh/b.pem'"),
        Named('bundle endpoint of b.example "https://b.example/it\'s"', CA("b.example")),
        Named("/mnt/unquoted", CA("c.example")),
    ]
    with Mesh.from_sources(sources) as mesh:
        assert eventually(lambda: all(each.reads for each in mesh.sources()))
        figures = in_prometheus(mesh)
    assert figures['meshid_reload_total{result="success",source="trust of a.example"}'] == 1
    assert figures['meshid_reload_total{result="failure",source="trust of a.example"}'] == 1
    assert figures['meshid_reload_total{result="success",source="bundle endpoint of b.example"}'] == 1
    assert figures['meshid_reload_total{result="success",source=""}'] == 1
    assert not any("/" in name for name in figures)


def test_the_registry_and_the_meter_of_the_process_are_meant_if_none_is_named(mesh: Mesh) -> None:
    before = set(REGISTRY._collector_to_names)  # noqa: SLF001 - so that it can be taken out again
    to_prometheus(mesh)
    (collector,) = set(REGISTRY._collector_to_names) - before  # noqa: SLF001
    assert b"meshid_generation 1.0" in generate_latest(REGISTRY)
    REGISTRY.unregister(collector)
    to_opentelemetry(mesh)


def test_every_decision_is_counted_under_threads(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca)
    peer = mesh.admit(prod_ca.issue(PATH).chain)
    threads = [threading.Thread(target=lambda: [mesh.check(peer) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = {kind.call: count for kind, count in mesh.counts().items()}
    assert counts == {"admit": 1, "check": 4000}


@pytest.mark.parametrize("name", ["prometheus", "opentelemetry"])
def test_without_the_extra_it_says_what_is_missing(name: str) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = sys.modules['opentelemetry'] = None\n"
        "import meshid, meshid.metrics\n"
        f"meshid.metrics.to_{name}(meshid.Mesh())"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"(the extra {name!r} of meshid)" in ended.stderr
