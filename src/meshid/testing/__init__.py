"""A certificate authority for tests, and pytest fixtures in `meshid.testing.fixtures`."""

from meshid.testing.ca import CA, Issued, Shape

__all__ = ["CA", "Issued", "Shape"]
