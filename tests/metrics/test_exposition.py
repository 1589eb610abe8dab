"""The text is what `prometheus_client` writes of the same figures, as its own parser reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from meshid import Mesh, Revocations
from meshid.metrics import to_prometheus
from meshid.metrics.exposition import exposition
from meshid.metrics.figures import Figure
from meshid.testing import CA
from tests.helpers.tls_peers import PATH, mesh_of


def read(text: str) -> set[tuple[object, ...]]:
    return {
        (family.type, family.documentation, sample.name, frozenset(sample.labels.items()), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_says_what_the_library_says(prod_ca: CA) -> None:
    mesh = mesh_of(prod_ca, revocations=Revocations(crls=[prod_ca.crl()]))
    mesh.admit(prod_ca.issue(PATH).chain)
    registry = CollectorRegistry()
    to_prometheus(mesh, registry)
    assert read(exposition(mesh)) == read(generate_latest(registry).decode()) != set()


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text()), st.floats(allow_nan=False))
def test_whatever_is_in_a_label_or_a_value(labels: dict[str, str], value: float) -> None:
    figure = Figure("a.b", "About.", lambda _: iter([(labels, value)]), is_counter=True)
    assert read(exposition(Mesh(), [figure])) == {
        ("counter", "About.", "a_b_total", frozenset(labels.items()), value)
    }
