"""Where credentials, trust, revocations and policies come from, and go on coming from."""

from meshid.sources.endpoint import BundleEndpoint
from meshid.sources.faults import AmbiguousSources, SourceUnavailable
from meshid.sources.files import BundleMapFile, CredentialFiles, PolicyFile, RevocationFiles, TrustFile
from meshid.sources.state import Source, State
from meshid.sources.workload import WorkloadApi

__all__ = [
    "AmbiguousSources",
    "BundleEndpoint",
    "BundleMapFile",
    "CredentialFiles",
    "PolicyFile",
    "RevocationFiles",
    "Source",
    "SourceUnavailable",
    "State",
    "TrustFile",
    "WorkloadApi",
]
