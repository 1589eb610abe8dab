"""Where credentials, bundles, revocations and policies come from, now and after each change.

The sources are imported when they are first used: `meshid.mesh` needs the name of `Source` only.
"""

import importlib
from typing import TYPE_CHECKING

from meshid.errors import SourceUnavailable
from meshid.sources.source import Fault, Source, State

if TYPE_CHECKING:
    from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
    from meshid.sources.files.credential_files import CredentialFiles
    from meshid.sources.files.deny_list_file import DenyListFile
    from meshid.sources.files.policy_file import PolicyFile
    from meshid.sources.files.revocation_list_files import RevocationListFiles
    from meshid.sources.files.trust_file import BundleMapFile, TrustFile
    from meshid.sources.workload.workload_api import WorkloadApi

__all__ = [
    "BundleEndpoint",
    "BundleMapFile",
    "CredentialFiles",
    "DenyListFile",
    "Fault",
    "PolicyFile",
    "RevocationListFiles",
    "Source",
    "SourceUnavailable",
    "State",
    "TrustFile",
    "WorkloadApi",
]

_MODULES = {
    "BundleEndpoint": "endpoint.bundle_endpoint",
    "BundleMapFile": "files.trust_file",
    "CredentialFiles": "files.credential_files",
    "DenyListFile": "files.deny_list_file",
    "PolicyFile": "files.policy_file",
    "RevocationListFiles": "files.revocation_list_files",
    "TrustFile": "files.trust_file",
    "WorkloadApi": "workload.workload_api",
}


if not TYPE_CHECKING:  # pragma: no branch - or a type checker would take any name for one of these

    def __getattr__(name: str) -> object:
        """Import a source (PEP 562)."""
        if name not in _MODULES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
