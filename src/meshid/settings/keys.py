"""What can be set: each key, and what it is for."""

from __future__ import annotations

import attrs

PREFIX = "MESHID_"
FILE = "_FILE"
"""Ends the name of a variable that names a file with the value in it."""

CONFIG = "MESHID_CONFIG"
CONFIG_DIR = "MESHID_CONFIG_DIR"


@attrs.frozen
class Key:
    """One thing that can be set.

    Attributes:
        name: Its name in a file, and in a directory.
        about: What it is for.
        default: The value that it has if nobody sets it, as a text; None if it has none.
    """

    name: str
    about: str
    default: str | None = None

    @property
    def variable(self) -> str:
        """The name of its variable."""
        return PREFIX + self.name.upper()


KEYS = (
    Key("environment", "the environment of the policy that is in force here"),
    Key("service", "the name of this service: what peers reach"),
    Key("port", "the port to listen on, for your server to read; 0 is a free one"),
    Key("credentials", "our certificate: a directory, or a PEM file"),
    Key("key", "the private key, if it is in a file of its own and the certificate is no directory"),
    Key("layout", "the names of the files in that directory", "auto"),
    Key("workload_api", "our certificate and whom we trust: a SPIFFE Workload API, as unix:///path"),
    Key("trust", "whom we trust, each as TRUST_DOMAIN=PATH or TRUST_DOMAIN=https://..."),
    Key("bundle_map", "whom we trust: a SPIFFE bundle map, as a file"),
    Key("policy", "who may reach what: a policy, as a file"),
    Key("crls", "revocation lists: files, or directories of them"),
    Key("deny", "the deny list, as a file"),
    Key("crl_grace", "how many seconds an overdue revocation list still counts; inf for ever", "0"),
    Key("state_file", "where to tell how this process does, for `meshid status`"),
)

BY_NAME = {key.name: key for key in KEYS}
BY_VARIABLE = {key.variable: key for key in KEYS}
