"""Where credentials, bundles, revocations and policies come from, now and after each change."""

from meshid.errors import AmbiguousSources, SourceUnavailable
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.sources.files.credential_files import CredentialFiles
from meshid.sources.files.policy_file import PolicyFile
from meshid.sources.files.revocation_files import RevocationFiles
from meshid.sources.files.trust_file import BundleMapFile, TrustFile
from meshid.sources.source import Source, State
from meshid.sources.workload.workload_api import WorkloadApi

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
