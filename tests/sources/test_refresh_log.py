"""What a mesh that follows its sources logs of it: each line has its event."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from meshid import Mesh
from meshid.audit.event import POLICY_HASH
from meshid.health.refresh_event import RefreshEvent
from meshid.testing import CA
from tests.helpers.mounted import Mounted, eventually, hurry


@pytest.fixture
def mounted(
    tmp_path: Path, prod_ca: CA, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Mounted:
    hurry(monkeypatch)
    caplog.set_level("INFO", "meshid.refresh")
    return Mounted(tmp_path, prod_ca)


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, object]]:
    found = [
        cast("RefreshEvent", vars(record)["meshid"]).as_dict()
        for record in caplog.records
        if record.name == "meshid.refresh" and "meshid" in vars(record)
    ]
    return [event for event in found if event["event.name"] == f"meshid.refresh.{name}"]


def told(caplog: pytest.LogCaptureFixture, field: str) -> set[str]:
    """Return everything that the changes say in one field."""
    lists = [cast("list[str]", event.get(field, [])) for event in events(caplog, "changed")]
    return {each for texts in lists for each in texts}


def test_the_start_names_all_that_is_in_force(mounted: Mounted, caplog: pytest.LogCaptureFixture) -> None:
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        assert eventually(lambda: told(caplog, "meshid.parts") == {"credentials", "bundles", "policy"})
        # Those of the revocations may come later, with nothing to tell.
        assert told(caplog, "meshid.sources") >= {source.name for source in mounted.sources()[:3]}
        assert mesh.snapshot.policy is not None
        last = events(caplog, "changed")[-1]
        assert last["meshid.generation"] == mesh.snapshot.generation
        assert [each[POLICY_HASH] for each in events(caplog, "changed") if POLICY_HASH in each] == [
            mesh.snapshot.policy.hash
        ]


def test_a_change_names_its_source_and_what_was_taken_away(
    mounted: Mounted, caplog: pytest.LogCaptureFixture
) -> None:
    with Mesh.from_sources(mounted.sources(), service="payments"):
        mounted.deny.write_text('version = 1\n[[deny]]\npeer = "spiffe://prod.example.org/ns/ci/**"\n')
        assert eventually(lambda: told(caplog, "meshid.denials.added"))
        mounted.deny.write_text("version = 1\n")
        assert eventually(lambda: told(caplog, "meshid.denials.removed"))
    denied, forgiven = [
        each for each in events(caplog, "changed") if "revocations" in str(each["meshid.parts"])
    ]
    assert denied["meshid.denials.added"] == ["spiffe://prod.example.org/ns/ci/**"]
    assert forgiven["meshid.denials.removed"] == ["spiffe://prod.example.org/ns/ci/**"]
    assert denied["meshid.generation"] != forgiven["meshid.generation"]
    (source,) = cast("list[str]", forgiven["meshid.sources"])
    assert str(mounted.deny) in source


def test_what_cannot_be_put_in_force_is_an_alarm_about_its_part(
    mounted: Mounted, caplog: pytest.LogCaptureFixture
) -> None:
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        good = mounted.policy.read_text()
        mounted.policy.write_text(good.replace("prod.example.org", "other.example"))
        assert eventually(lambda: events(caplog, "alarm"))
        assert mesh.health().ready
        mounted.policy.write_text(good)
        assert eventually(lambda: events(caplog, "recovered"))
    alarm, recovered = events(caplog, "alarm")[0], events(caplog, "recovered")[0]
    assert alarm["meshid.part"] == "policy"
    assert alarm["meshid.alarm.about"] == recovered["meshid.alarm.about"] == f"policy '{mounted.policy}'"
    assert alarm["meshid.alarm.is_outage"] is False


def test_a_wrong_bundle_is_an_outage(mounted: Mounted, caplog: pytest.LogCaptureFixture) -> None:
    """It is put in force, because a removal of trust is never held up, and nobody gets in."""
    with Mesh.from_sources(mounted.sources(), service="payments") as mesh:
        mounted.trust.write_bytes(CA("prod.example.org").pem)
        assert eventually(lambda: not mesh.health())
        assert eventually(lambda: any(each["meshid.alarm.is_outage"] for each in events(caplog, "alarm")))
        mounted.trust.write_bytes(mounted.ca.pem)
        assert eventually(lambda: mesh.health() and events(caplog, "recovered"))
    assert events(caplog, "recovered")[0]["meshid.alarm.about"] == "own certificate"
