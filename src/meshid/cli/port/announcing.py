"""What a port prints about itself."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from meshid.cli.running_options import in_force
from meshid.mesh import Mesh
from meshid.port.upstream import UNIX, is_loopback
from meshid.settings.settings import Settings


@attrs.frozen(kw_only=True)
class Started:
    """A port that has started.

    Attributes:
        mesh: Its mesh.
        settings: Its settings.
        client: Whether it is a port for local clients.
        addresses: Where it listens, as ``getsockname()`` tells it.
        status_address: Where the status listener listens, as well; None if there is none.
    """

    mesh: Mesh
    settings: Settings
    client: bool
    addresses: tuple[object, ...]
    status_address: object = None

    def as_dict(self) -> dict[str, object]:
        """Return what there is to know of it, without what is empty."""
        policy = None if self.client else self.mesh.snapshot.policy
        known: dict[str, object] = {
            "listening": list(map(shown, self.addresses)),
            "service": None if self.client else self.settings.service,
            "upstream": self.settings.upstream,
            "expect": list(map(str, self.settings.expect)),
            "spiffe_id": str(self.mesh.snapshot.name),
            "environment": None if policy is None else policy.environment.name,
            "policy_hash": None if policy is None else policy.hash,
            "authorizer": None if self.settings.authorizer is None else shown(self.settings.authorizer),
            "status_address": None if self.status_address is None else shown(self.status_address),
        }
        return {name: value for name, value in known.items() if value}

    def __str__(self) -> str:
        policy = self.mesh.snapshot.policy
        parts = [f"listening on {', '.join(map(shown, self.addresses))}"]
        parts += ["without TLS"] if self.client else [f"for {self.settings.service}"]
        parts.append(f"to {self.settings.upstream}")
        if self.settings.expect:
            parts.append(f"which must be {' or '.join(map(str, self.settings.expect))}")
        line = f"{' '.join(parts[:2])}, {', '.join(parts[2:])}"
        if policy is not None and not self.client:
            line += f"; {in_force(policy)}"
        if self.settings.authorizer is not None:
            line += f"; asked on {shown(self.settings.authorizer)}"
        return line + ("" if self.status_address is None else f"; status on {shown(self.status_address)}")


def shown(address: object) -> str:
    """Return what ``getsockname()`` returns, as it is written in settings."""
    if not isinstance(address, tuple):
        return f"{UNIX}{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_for_this_machine_only(addresses: Iterable[object]) -> bool:
    """Tell whether nobody on another machine can connect."""
    return all(not isinstance(each, tuple) or is_loopback(each[0]) for each in addresses)
