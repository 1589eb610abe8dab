"""Where credentials, bundles, revocations and policies come from, now and after each change."""

from meshid.errors import SourceUnavailable
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.sources.files.credential_files import CredentialFiles
from meshid.sources.files.deny_list_file import DenyListFile
from meshid.sources.files.policy_file import PolicyFile
from meshid.sources.files.revocation_list_files import RevocationListFiles
from meshid.sources.files.trust_file import BundleMapFile, TrustFile
from meshid.sources.source import Fault, Source, State
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
