"""Istio's `AuthorizationPolicy` to a policy file; needs the extra ``yaml``."""

from meshid.istio.importing import Imported, import_istio
from meshid.istio.problems import InvalidIstioPolicy

__all__ = ["Imported", "InvalidIstioPolicy", "import_istio"]
