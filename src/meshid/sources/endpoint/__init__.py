"""The bundles of other trust domains, from their SPIFFE bundle endpoints."""

from meshid.sources.endpoint.source import BundleEndpoint

__all__ = ["BundleEndpoint"]
