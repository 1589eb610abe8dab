"""A certificate authority for tests, a server for them, and pytest fixtures in `meshid.testing.fixtures`."""

from meshid.testing.ca import CA, Issued, Shape
from meshid.testing.server_thread import serving

__all__ = ["CA", "Issued", "Shape", "serving"]
