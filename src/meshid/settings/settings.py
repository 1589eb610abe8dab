"""`Settings`: everything that an operator has set, read once, each value with its origin.

A key is declared once, as a field of `Settings`: its type, its parser and its meaning. `KEYS`,
the class's docstring and what `meshid settings` prints are made from that. The parser is a name,
so that a program that reads no settings does not load the parsers and the sources.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

import attrs

from meshid.errors import InvalidInput, InvalidSettings, Problem
from meshid.names.peer_pattern import PeerPattern
from meshid.names.spiffe_id import SpiffeId
from meshid.settings.host_port import Address
from meshid.settings.keys import Found, Key
from meshid.settings.trust_setting import Trust
from meshid.sources.source import Source
from meshid.support.quoting import escaped

_T = TypeVar("_T")

Tokens: TypeAlias = Literal["optional", "required"]


def _key(parser: str, default: _T, about: str) -> _T:
    """Declare a field of `Settings` that is the key of the same name."""
    return attrs.field(default=default, metadata={"parser": parser, "about": about})


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that an operator has set; `from_env` reads it."""

    environment: str | None = _key("text", None, "the environment of the policy that is in force here")
    spiffe_id: SpiffeId | None = _key(
        "spiffe_id", None, "our SPIFFE ID: a certificate with another one is refused; any if not set"
    )
    service: str | None = _key("text", None, "the name of this service: what peers reach")
    host: str = _key(
        "text", "127.0.0.1", "the address to listen on, of this host or a name of it; 0.0.0.0 and :: are all"
    )
    port: int | None = _key("port", None, "the port to listen on, for your server to read; 0 is a free one")
    credentials: Path | None = _key("path", None, "our certificate: a directory, or a PEM file")
    key: Path | None = _key(
        "path", None, "the private key, if the certificate is a PEM file and the key is in another one"
    )
    layout: str = _key("layout", "auto", "the names of the files in the directory of `credentials`")
    workload_api: str | None = _key(
        "workload_api",
        None,
        "our certificate and the trust bundles, from a SPIFFE Workload API: `unix:///path` or"
        " `tcp://IP-ADDRESS:PORT` (extra `spire`); the one of `SPIFFE_ENDPOINT_SOCKET` if neither"
        " this nor `credentials` is set",
    )
    svid_hint: str | None = _key(
        "text", None, "the hint of our certificate, if the agent of the `workload_api` has several for us"
    )
    trust: tuple[Trust, ...] = _key(
        "trusts", (), "trust bundles, each as `TRUST_DOMAIN=PATH` or `TRUST_DOMAIN=https://HOST/PATH`"
    )
    bundle_map: Path | None = _key("path", None, "trust bundles: a SPIFFE bundle map, as a file")
    policy: Path | None = _key("path", None, "the policy: a file that says who may reach what")
    crls: tuple[Path, ...] = _key("paths", (), "revocation lists: files, or directories of them")
    deny: Path | None = _key("path", None, "the deny list, as a file")
    crl_grace: float = _key(
        "seconds", 0, "how many seconds an overdue revocation list still counts; `inf` for ever"
    )
    leaf_grace: float = _key(
        "leaf_grace",
        0,
        "how many seconds, at most 3600, an open connection may outlive its peer's certificate",
    )
    tokens: Tokens = _key(
        "tokens",
        "optional",
        "whether each request of a peer needs a token of an issuer of this environment: `optional` or"
        " `required`",
    )
    keep_encoded: tuple[str, ...] = _key(
        "kept",
        (),
        "what stays encoded in the path of a request that is judged, as part of its segment: some of `%2F`,"
        " `%3B`, `%23` and `%25`; only if the server is known to read it so",
    )
    start_timeout: float = _key(
        "seconds",
        10.0,
        "how many seconds to wait at the start for what is missing: our certificate, our own trust bundle, a"
        " policy or a deny list that is set; what is there and wrong is not waited for",
    )
    state_file: Path | None = _key(
        "output_file", None, "the file to write the health of this process to, for `meshid status`"
    )
    upstream: str | None = _key(
        "text", None, "what is behind `meshid port`: `HOST:PORT`, or a Unix socket as `unix:/path`"
    )
    remote_upstream: bool = _key(
        "yes_or_no",
        False,
        "whether `meshid port` may pass plain text to an `upstream` on another machine: `true` or `false`",
    )
    expect: tuple[PeerPattern, ...] = _key(
        "peers",
        (),
        "the names that the server behind `meshid port` may have, as SPIFFE IDs or patterns of them: the port"
        " then speaks TLS to it",
    )
    alpn: tuple[str, ...] = _key(
        "protocols",
        (),
        "the protocols that `meshid port` offers to clients by ALPN, preferred first, such as `h2`; with"
        " `--client`, the one that clients speak and the server must agree on",
    )
    proxy_protocol: bool = _key(
        "yes_or_no",
        False,
        "whether `meshid port` writes a PROXY v2 header to its upstream: `true` or `false`",
    )
    spiffe_tlv: int | None = _key(
        "own_tlv",
        None,
        "the type of the SPIFFE ID's entry in that header, `0xD0` or `0xE0` to `0xEF`; `0xE0` if not set",
    )
    authorizer: Path | None = _key(
        "unix_socket", None, "the Unix socket where a proxy asks the authorizer, as `unix:/path`"
    )
    proxy: str | None = _key("text", None, "which proxy asks `meshid authorizer`, such as `nginx`")
    intermediates: Path | None = _key(
        "path", None, "intermediates for a proxy that passes the leaf alone: a PEM file"
    )
    elements: int = _key("count", 1, "how many elements the header of the `proxy` has")
    status_address: Address | None = _key(
        "address",
        None,
        "where `meshid port` and `meshid serve` answer `/livez`, `/readyz` and `/metrics` in plain HTTP, as"
        " `HOST:PORT`",
    )
    max_connections: int | None = _key(
        "count",
        None,
        "how many connections of admitted peers `meshid port` has at once; what the limit of open files"
        " allows, and at most 10000, if not set",
    )
    idle_timeout: float | None = _key(
        "timeout", None, "how many seconds a connection of `meshid port` may be idle; for ever if not set"
    )
    drain_timeout: float = _key(
        "seconds",
        25.0,
        "how many seconds `meshid port` and `meshid serve` wait, when they are stopped, for open connections"
        " to end",
    )
    origins: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)
    _found: Mapping[str, Found] = attrs.field(factory=dict, eq=False, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: object) -> Self:
        """Read all settings: arguments first, then variables, the directory, the file, and defaults.

        A variable that is empty is not set. Relative paths begin at the working directory;
        in the directory and in the file, at the directory that it is in.

        Args:
            environ: The variables: ``MESHID_SERVICE``, or ``MESHID_SERVICE_FILE`` for a file
                with the value in it; ``MESHID_CONFIG_DIR`` names a directory with a file for
                each key, ``MESHID_CONFIG`` a TOML file. `os.environ` if None.
            arguments: Values that come before all others.

        Raises:
            InvalidSettings: With everything that is wrong, each with its place.
            TypeError: If an argument is not a key.
        """
        from meshid.settings import parsing
        from meshid.settings.lookup import Lookup

        if unknown := arguments.keys() - {key.name for key in KEYS}:
            msg = f"there is no setting {', '.join(sorted(unknown))}"
            raise TypeError(msg)
        problems: list[Problem] = []
        found = Lookup(KEYS, problems).find_all(os.environ if environ is None else environ, arguments)
        values: dict[str, Any] = {}
        for key in KEYS:
            if key.name in found:
                try:
                    values[key.name] = getattr(parsing, key.parser)(found[key.name])
                except InvalidInput as error:
                    problems.append(Problem(f"{key.name}, from {found[key.name].origin}", str(error)))
        problems += _missing(found)
        if problems:
            # One of them may be a secret in the wrong place, and the traceback keeps this frame.
            del environ, arguments, found
            raise InvalidSettings(tuple(problems))
        return cls(**values, origins={name: each.origin for name, each in found.items()}, found=found)

    def sources(self) -> list[Source]:
        """Return the sources that are set, for `Mesh.from_sources`.

        Raises:
            InvalidInput: If the URL of a bundle endpoint or the address of a Workload API is not valid.
            MissingExtra: If there is a Workload API, and the extra ``spire`` is not installed.
        """
        return list(self._sources())

    def items(self) -> Iterator[tuple[str, str, str]]:
        """Yield the name of each key, its value and its origin, for people; a value is never a secret."""
        for key in KEYS:
            found = self._found.get(key.name)
            if found is None:
                yield key.name, "", "not set"
            else:
                values = found.value if isinstance(found.value, (list, tuple)) else [found.value]
                yield key.name, escaped(", ".join(map(_as_written, values))), found.origin

    def _sources(self) -> Iterator[Source]:
        from meshid import sources

        if self.credentials is not None:
            yield sources.CredentialFiles(self.credentials, self.key, layout=self.layout)
        if self.workload_api is not None:
            yield sources.WorkloadApi(self.workload_api, spiffe_id=self.spiffe_id, hint=self.svid_hint)
        for trust in self.trust:
            yield trust.source()
        if self.bundle_map is not None:
            yield sources.BundleMapFile(self.bundle_map)
        if self.policy is not None and self.environment is not None:
            yield sources.PolicyFile(self.policy, self.environment)
        if self.deny is not None:
            yield sources.DenyListFile(self.deny)
        if self.crls:
            yield sources.RevocationListFiles(self.crls, grace=self.crl_grace)


KEYS = tuple(
    Key(name=field.name, default=field.default, **field.metadata)
    for field in attrs.fields(Settings)
    if field.metadata
)

Settings.__doc__ = "\n".join(
    [
        f"{Settings.__doc__}\n\nAttributes:",
        *(f"    {key.name}: {key.about[0].upper()}{key.about[1:]}." for key in KEYS),
        "    origins: Where each value that is set comes from, by the name of its key.",
    ]
)


def _as_written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _missing(found: Mapping[str, Found]) -> Iterator[Problem]:
    """Yield what is needed and not set; a value that is set and wrong is another problem."""
    if "policy" in found and "environment" not in found:
        yield _not_set("environment", "a policy is loaded for one environment")
    if "key" in found and "credentials" not in found:
        yield _not_set("credentials", "a key needs its certificate")
    if "svid_hint" in found and "workload_api" not in found:
        yield _not_set("workload_api", "a hint is that of one of its certificates")
    if not {"trust", "bundle_map", "workload_api"} & found.keys():
        yield _not_set("trust", "no peer can be verified", "=prod.example.org=/etc/tls/ca.crt")


def _not_set(name: str, why: str, example: str = "") -> Problem:
    (variable,) = (key.variable for key in KEYS if key.name == name)
    return Problem(name, f"is not set: {why}; set {variable}{example}")
