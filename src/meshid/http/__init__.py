"""What meshid serves and reads over HTTP."""

from meshid.http.bundle import bundle_app

__all__ = ["bundle_app"]
