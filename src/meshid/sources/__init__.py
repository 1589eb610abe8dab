"""Where credentials, bundles, revocations and policies come from, now and after each change.

The sources are imported when they are first used: `meshid.mesh` needs the name of `Source` only.
"""

import importlib
from typing import TYPE_CHECKING

from meshid.errors import AmbiguousSources, SourceUnavailable
from meshid.sources.source import Fault, Source, State

if TYPE_CHECKING:
    from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
    from meshid.sources.files.credential_files import CredentialFiles
    from meshid.sources.files.policy_file import PolicyFile
    from meshid.sources.files.revocation_files import RevocationFiles
    from meshid.sources.files.trust_file import BundleMapFile, TrustFile
    from meshid.sources.workload.workload_api import WorkloadApi

__all__ = [
    "AmbiguousSources",
    "BundleEndpoint",
    "BundleMapFile",
    "CredentialFiles",
    "Fault",
    "PolicyFile",
    "RevocationFiles",
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
    "PolicyFile": "files.policy_file",
    "RevocationFiles": "files.revocation_files",
    "TrustFile": "files.trust_file",
    "WorkloadApi": "workload.workload_api",
}


def __getattr__(name: str) -> object:
    """Import a source (PEP 562)."""
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
