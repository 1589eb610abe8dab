"""A certificate authority and an issuer of tokens for tests, a server for them, and pytest fixtures.

The fixtures are in `meshid.testing.fixtures`.
"""

from meshid.testing.ca import CA, Issued, Shape
from meshid.testing.server_thread import serving
from meshid.testing.token_issuer import SigningKey, TokenIssuer

__all__ = ["CA", "Issued", "Shape", "SigningKey", "TokenIssuer", "serving"]
