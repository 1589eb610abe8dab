"""`Settings`: everything that an operator has set, read once, each value with its origin."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from meshid.errors import InvalidSettings, Problem
from meshid.settings.keys import BY_NAME, KEYS
from meshid.settings.trust_setting import Trust
from meshid.support.quoting import escaped

if TYPE_CHECKING:
    from meshid.settings.lookup import Found
    from meshid.sources import Source


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that an operator has set.

    Attributes:
        environment: The environment of the policy that is in force here.
        service: The name of this service: what peers reach.
        port: The port to listen on, for your server to read; 0 is a free one.
        credentials: Our certificate: a directory, or a PEM file.
        key: The private key, if it is in a file of its own.
        layout: The names of the files in the directory.
        workload_api: The address of a SPIFFE Workload API; that of ``SPIFFE_ENDPOINT_SOCKET``
            if neither this nor *credentials* is set.
        trust: Whom we trust.
        bundle_map: A SPIFFE bundle map.
        policy: A policy.
        crls: Revocation lists: files, or directories of them.
        deny: The deny list.
        crl_grace: How many seconds an overdue revocation list still counts.
        state_file: Where to tell how this process does, for `meshid status`.
        origins: Where each value that is set comes from.
    """

    environment: str | None = None
    service: str | None = None
    port: int | None = None
    credentials: Path | None = None
    key: Path | None = None
    layout: str = "auto"
    workload_api: str | None = None
    trust: tuple[Trust, ...] = ()
    bundle_map: Path | None = None
    policy: Path | None = None
    crls: tuple[Path, ...] = ()
    deny: Path | None = None
    crl_grace: float = 0.0
    state_file: Path | None = None
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
            TypeError: If there is no such key as an argument.
        """
        from meshid.settings import parsing as values
        from meshid.settings.lookup import find_all

        if unknown := arguments.keys() - BY_NAME.keys():
            msg = f"there is no setting {', '.join(sorted(unknown))}"
            raise TypeError(msg)
        problems: list[Problem] = []
        found = find_all(os.environ if environ is None else environ, arguments, problems)
        read = values.Values(found, problems).read
        settings = cls(
            environment=read("environment", values.text, None),
            service=read("service", values.text, None),
            port=read("port", values.port, None),
            credentials=read("credentials", values.path, None),
            key=read("key", values.path, None),
            layout=read("layout", values.layout, "auto"),
            workload_api=read("workload_api", values.workload_api, None),
            trust=read("trust", values.trusts, ()),
            bundle_map=read("bundle_map", values.path, None),
            policy=read("policy", values.path, None),
            crls=read("crls", values.paths, ()),
            deny=read("deny", values.path, None),
            crl_grace=read("crl_grace", values.seconds, 0.0),
            state_file=read("state_file", values.path, None),
            origins={name: each.origin for name, each in found.items()},
            found=found,
        )
        problems += settings._missing(found)
        if problems:
            raise InvalidSettings(tuple(problems))
        return settings

    def sources(self) -> list[Source]:
        """Return the sources that are set, for `Mesh.from_sources`.

        Raises:
            InvalidInput: If the URL of a bundle endpoint or the address of a Workload API is none.
            SourceUnavailable: If a file that is read once cannot be.
            MissingExtra: If there is a Workload API, and the extra ``spire`` is not there.
        """
        return list(self._sources())

    def items(self) -> Iterator[tuple[str, str, str]]:
        """Yield the name of each key, its value and its origin, as people read them; never a secret."""
        for key in KEYS:
            found = self._found.get(key.name)
            if found is None:
                yield key.name, "", "not set"
            else:
                value = found.value
                items = map(str, value) if isinstance(value, (list, tuple)) else [str(value)]
                yield key.name, escaped(", ".join(items)), found.origin

    def _sources(self) -> Iterator[Source]:
        from meshid import sources

        if self.credentials is not None:
            yield sources.CredentialFiles(self.credentials, self.key, layout=self.layout)
        if self.workload_api is not None:
            yield sources.WorkloadApi(self.workload_api)
        for trust in self.trust:
            yield trust.source()
        if self.bundle_map is not None:
            yield sources.BundleMapFile(self.bundle_map)
        if self.policy is not None and self.environment is not None:
            yield sources.PolicyFile(self.policy, self.environment)
        if self.crls or self.deny is not None:
            yield sources.RevocationFiles(self.crls, self.deny, grace=self.crl_grace)

    def _missing(self, found: Mapping[str, Found]) -> Iterator[Problem]:
        """Yield what is needed and is not there; a value that is there and wrong has been told of."""
        if "policy" in found and "environment" not in found:
            yield _missing("environment", "a policy is loaded for one environment")
        if "key" in found and "credentials" not in found:
            yield _missing("credentials", "a key is of no use without its certificate")
        if not {"trust", "bundle_map", "workload_api"} & found.keys():
            yield _missing("trust", "nobody is trusted", "=prod.example.org=/etc/tls/ca.crt")


def _missing(name: str, why: str, example: str = "") -> Problem:
    return Problem(name, f"is not set: {why}; set {BY_NAME[name].variable}{example}")
