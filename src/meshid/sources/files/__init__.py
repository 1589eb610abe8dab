"""Files, as platforms mount them."""

from meshid.sources.files.credentials import CredentialFiles
from meshid.sources.files.layouts import LAYOUTS, Layout
from meshid.sources.files.others import PolicyFile, RevocationFiles
from meshid.sources.files.trust import BundleMapFile, TrustFile

__all__ = [
    "LAYOUTS",
    "BundleMapFile",
    "CredentialFiles",
    "Layout",
    "PolicyFile",
    "RevocationFiles",
    "TrustFile",
]
