"""Istio's `AuthorizationPolicy` to a policy file; needs the extra ``yaml``."""

from meshid.errors import InvalidIstioPolicy
from meshid.istio.importing import Imported, import_istio

__all__ = ["Imported", "InvalidIstioPolicy", "import_istio"]
