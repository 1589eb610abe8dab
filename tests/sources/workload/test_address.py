"""Addresses of a Workload API (SPIFFE Workload Endpoint section 4)."""

from __future__ import annotations

import pytest

from meshid.errors import InvalidInput
from meshid.sources.workload.address import target_of


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("unix:///run/agent.sock", "unix:///run/agent.sock"),
        ("unix:/run/agent.sock", "unix:///run/agent.sock"),
        ("tcp://127.0.0.1:8081", "ipv4:127.0.0.1:8081"),
        ("tcp://[::1]:8081", "ipv6:[::1]:8081"),
    ],
)
def test_a_valid_address(address: str, target: str) -> None:
    assert target_of(address) == target


@pytest.mark.parametrize(
    "address",
    [
        "/run/agent.sock",
        "unix://run/agent.sock",
        "unix:///",
        "unix:agent.sock",
        "unix:run/agent.sock",
        "unix:./agent.sock",
        "unix:@agent",
        "unix:///run/",
        "unix:///run/agent\n.sock",
        "unix:///run/agent\0.sock",
        " unix:///run/agent.sock",
        "unix:///run/agent.sock ",
        "tcp://[fe80::1%eth0]:8081",
        "unix:///run/agent.sock?x",
        "unix:///run/agent.sock#x",
        "tcp://localhost:8081",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:99999",
        "tcp://127.0.0.1:8081/x",
        "tcp://user@127.0.0.1:8081",
        "tcp://[::1:8081",
        "tcp://",
        "https://127.0.0.1:8081",
    ],
)
def test_an_invalid_address(address: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        target_of(address)
    right = "write unix:///path/to/agent.sock or tcp://IP-ADDRESS:PORT"
    assert str(caught.value) == f"{address!r} is not the address of a Workload API: {right}"
