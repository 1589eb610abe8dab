"""Envoy with filters that were exported, a chain of filters for each name that a client may ask for.

It serves nothing itself: whatever its filters let through gets 200.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import yaml

from meshid.testing import CA, Issued
from tests.helpers.proxies import ENVOY, reserved_port, running_proxy
from tests.helpers.proxy_scene import Line, Line2
from tests.helpers.tls_peers import HOST, stranger

JUDGED = (200, 403)
"""What filters answer; everything else is the answer of Envoy itself, which then has read no request."""

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_REGEX_SIZE = {"layers": [{"name": "meshid", "static_layer": {"re2.max_program_size.error_level": 32768}}]}
_NO_RESUMPTION = {
    "disable_stateless_session_resumption": True,
    "disable_stateful_session_resumption": True,
}

Fields = dict[str, Any]
Asked = tuple[str, str]
"""A method and a target, as they are sent."""


def _unchanged(fields: Fields) -> None:
    del fields


@attrs.frozen
class Enforcing:
    """What one chain of filters does.

    Attributes:
        text: What was exported.
        change: Changes the fields of the HTTP connection manager.
        validation: How Envoy validates certificates: "spiffe", "pooled" or "nobody".
        resumes: Whether sessions are resumed.
    """

    text: str
    change: Callable[[Fields], None] = _unchanged
    validation: str = "spiffe"
    resumes: bool = False


@attrs.frozen
class Listening:
    """An Envoy that runs.

    Attributes:
        port: Its port.
    """

    port: int

    def ask(
        self, name: str, who: Issued | None, requests: Sequence[Asked], kind: type[Line | Line2] = Line
    ) -> list[int]:
        """Return the status of each answer of the chain *name*; 0 if there was none."""
        context = stranger(who)
        statuses: list[int] = []
        with contextlib.ExitStack() as open_line:
            line: Line | Line2 | None = None
            for method, target in requests:
                if line is None:
                    line = kind(self.port, context, host=name)
                    open_line.callback(line.__exit__)
                statuses.append(line.ask(method, target).status)
                if statuses[-1] not in JUDGED:
                    open_line.close()
                    line = None
        return statuses


@contextlib.contextmanager
def enforcing_envoy(
    folder: Path, authorities: Mapping[str, CA], chains: Mapping[str, Enforcing]
) -> Iterator[Listening]:
    """Run an Envoy with *chains*, each for the name that is its key.

    Args:
        folder: Where its files are written.
        authorities: The authority of each trust domain; the first one issues Envoy's own certificate.
        chains: The chains.
    """
    own = next(iter(authorities.values())).issue("/ns/edge/sa/envoy")
    (folder / "own.pem").write_bytes(own.chain_pem)
    (folder / "own.key").write_bytes(own.key_pem)
    for name, authority in authorities.items():
        (folder / f"{name}.pem").write_bytes(authority.pem)
    (folder / "all.pem").write_bytes(b"".join(each.pem for each in authorities.values()))
    with reserved_port() as port:
        inspector = "filters.listener.tls_inspector.v3.TlsInspector"
        listener = {
            "name": "mesh",
            "address": {"socket_address": {"address": HOST, "port_value": port}},
            "listener_filters": [_typed("envoy.filters.listener.tls_inspector", inspector)],
            "filter_chains": [_chain(folder, authorities, *each) for each in chains.items()],
        }
        whole = {"layered_runtime": _REGEX_SIZE, "static_resources": {"listeners": [listener]}}
        configuration = folder / "envoy.json"
        configuration.write_text(json.dumps(whole))
        once: list[str | Path] = [ENVOY.path(), "-c", configuration, "--use-dynamic-base-id"]
        with running_proxy([*once, "--concurrency", "1", "-l", "error"], port, folder):
            yield Listening(port)


def _typed(name: str, kind: str, **fields: object) -> Fields:
    return {"name": name, "typed_config": {"@type": f"{_EXTENSIONS}.{kind}", **fields}}


def _chain(folder: Path, authorities: Mapping[str, CA], name: str, does: Enforcing) -> Fields:
    exported = yaml.safe_load(does.text)
    does.change(exported)
    exported["http_filters"].append(_typed("envoy.filters.http.router", "filters.http.router.v3.Router"))
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    manager = _typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        delayed_close_timeout="0.05s",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        **exported,
    )
    context = _typed(
        "envoy.transport_sockets.tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=does.validation == "spiffe",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": f"{folder}/own.pem"},
                    "private_key": {"filename": f"{folder}/own.key"},
                }
            ],
            "validation_context": _validation(folder, authorities, does.validation),
        },
        **({} if does.resumes else _NO_RESUMPTION),
    )
    match = {"server_names": [name]}
    return {"filter_chain_match": match, "filters": [manager], "transport_socket": context}


def _validation(folder: Path, authorities: Mapping[str, CA], how: str) -> Fields:
    if how == "pooled":
        return {"trusted_ca": {"filename": f"{folder}/all.pem"}}
    if how == "nobody":
        return {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
    bundles = [{"name": each, "trust_bundle": {"filename": f"{folder}/{each}.pem"}} for each in authorities]
    kind = "transport_sockets.tls.v3.SPIFFECertValidatorConfig"
    return {"custom_validator_config": _typed("envoy.tls.cert_validator.spiffe", kind, trust_domains=bundles)}
