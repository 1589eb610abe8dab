"""`MeshOpenSSLContext`: an `OpenSSL.SSL.Context` that always stands for the trust of this instant.

The rules of this module:

- It is a facade. Each connection is made by an inner context, a *generation*, which is built for one
  certificate of ours. pyOpenSSL asks a context for OpenSSL's own when it makes a connection; at that
  moment the connection becomes a `MeshConnection` of the generation in force.
- Whoever asks at another moment gets a context of OpenSSL's that has no certificate and refuses
  everybody: so a way that is not known here gives no handshake, instead of one without a decision.
- Nothing can be set on it. Each method of pyOpenSSL that changes a context raises, and so will those to come.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterable
from typing import cast

import OpenSSL
from OpenSSL import SSL

from meshid.admission.admission import Admission
from meshid.admission.question import Question
from meshid.errors import InvalidCredentials, UnsupportedPython
from meshid.support.locks import Order, new_lock
from meshid.support.types import positive_seconds
from meshid.tls.broken_off import BrokenOff
from meshid.tls.context import MeshJudge
from meshid.tls.handshakes import Handshakes
from meshid.tls.pyopenssl.openssl_connection import MeshConnection
from meshid.tls.pyopenssl.openssl_generation import OpenSSLGeneration, OpenSSLSettings
from meshid.tls.tls_settings import TlsSettings
from meshid.trust.credentials import X509Svid

_CHANGING = ("add_", "clear_", "load_", "set_", "use_")
"""How the names of the methods begin that change a context."""

_CREDENTIALS = "give the certificate and its key to the Mesh: Mesh(credentials=...) or Mesh.publish()"
_TRUST = "leave it out: the Mesh verifies, with the bundles that it has"
_ADVICE = {
    "add_extra_chain_cert": _CREDENTIALS,
    "load_verify_locations": _TRUST,
    "set_alpn_protos": "Mesh.openssl_context(alpn=...)",
    "set_alpn_select_callback": "Mesh.openssl_context(alpn=...)",
    "set_default_verify_paths": _TRUST,
    "set_min_proto_version": "Mesh.openssl_context(minimum_version=...)",
    "set_session_cache_mode": "leave it out: each handshake is a full one",
    "set_verify": _TRUST,
    "use_certificate": _CREDENTIALS,
    "use_certificate_chain_file": _CREDENTIALS,
    "use_certificate_file": _CREDENTIALS,
    "use_privatekey": _CREDENTIALS,
    "use_privatekey_file": _CREDENTIALS,
}
_ANY = "leave it out: Mesh.openssl_context() has what can be chosen"


class MeshOpenSSLContext(SSL.Context):
    """An `OpenSSL.SSL.Context` whose handshakes end with a decision.

    Args:
        admission: Decides.
        question: What is asked about each peer; it says whether we are server or client.
        alpn: As for `Mesh.server_context`, and so are the next two.
        minimum_version: The oldest version of TLS.
        handshake_timeout: How many seconds a handshake may take.
    """

    _is_made: bool = False

    def __init__(
        self,
        admission: Admission,
        *,
        question: Question,
        alpn: Iterable[str],
        minimum_version: ssl.TLSVersion,
        handshake_timeout: float,
    ) -> None:
        is_server = question.expect is None
        limits = TlsSettings.limits(
            ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT,
            minimum_version=minimum_version,
            alpn=alpn,
        )
        oldest = SSL.TLS1_2_VERSION if minimum_version is ssl.TLSVersion.TLSv1_2 else SSL.TLS1_3_VERSION
        self._settings = OpenSSLSettings(is_server, oldest, tuple(each.encode() for each in limits.alpn))
        broken_off = BrokenOff(minimum_version).tell if is_server else None
        self._broken_off = broken_off
        self._handshakes = Handshakes(positive_seconds(handshake_timeout, "handshake_timeout"), broken_off)
        self._admission = admission
        self._judge = MeshJudge(admission, question)
        self._building = new_lock(Order.BUILDING)
        self._built: tuple[X509Svid, OpenSSLGeneration] | None = None
        super().__init__(self._settings.method)
        self.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: False)
        self._is_made = True
        # Built now, so that a server without a certificate fails when it starts.
        if not isinstance(SSL.Connection(self), MeshConnection):
            msg = f"pyOpenSSL {OpenSSL.__version__} makes connections in a way that meshid does not know"
            raise UnsupportedPython(msg)
        admission.roles.add(question.role)
        if is_server:
            admission.listeners.add(question)

    @property
    def _context(self) -> object:
        """OpenSSL's context, which pyOpenSSL asks for."""
        frame = sys._getframe(1)  # noqa: SLF001 - the connection is made there, and is not passed on
        if frame.f_code is SSL.Connection.__init__.__code__:
            return self._adopt(frame.f_locals["self"])
        return self._nobody

    @_context.setter
    def _context(self, context: object) -> None:
        self._nobody = context

    def _adopt(self, connection: SSL.Connection) -> object:
        if type(connection) is not SSL.Connection:
            msg = f"a context of a Mesh makes OpenSSL.SSL.Connection objects, not {type(connection).__name__}"
            raise TypeError(msg)
        generation = self._generation()
        connection.__class__ = MeshConnection
        cast("MeshConnection", connection).generation = generation
        return cast("object", generation._context)  # noqa: SLF001

    def _generation(self) -> OpenSSLGeneration:
        own = self._admission.snapshot.credentials
        if own is None:
            msg = "TLS needs a certificate of our own: give the Mesh credentials"
            raise InvalidCredentials(msg)
        built = self._built
        if built is not None and built[0] is own:
            return built[1]
        # One thread builds it, however many handshakes begin at that moment.
        with self._building:
            built = self._built
            if built is None or built[0] is not own:
                built = self._built = (
                    own,
                    OpenSSLGeneration(self._settings, own, self._judge, self._handshakes, self._broken_off),
                )
            return built[1]

    # -- Twisted ------------------------------------------------------------------

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802 - Twisted's name
        """Make a connection, as Twisted's ``IOpenSSLServerConnectionCreator`` says."""
        connection = SSL.Connection(self)
        connection.set_app_data(protocol)
        return connection

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802 - Twisted's name
        """Make a connection, as Twisted's ``IOpenSSLClientConnectionCreator`` says."""
        return self.serverConnectionForTLS(protocol)

    @property
    def __providedBy__(self) -> object:  # noqa: N802 - zope.interface's name
        """The interface of Twisted's that it provides; only zope.interface asks, on behalf of Twisted."""
        interfaces = sys.modules.get("twisted.internet.interfaces")
        if interfaces is None:
            # So that another library that uses zope.interface gets its own answer.
            msg = "Twisted is not there"
            raise AttributeError(msg)

        server, client = (
            interfaces.IOpenSSLServerConnectionCreator,
            interfaces.IOpenSSLClientConnectionCreator,
        )
        return sys.modules["zope.interface"].Declaration(server if self._settings.is_server else client)


def _refusing(name: str, method: Callable[..., object]) -> Callable[..., object]:
    def refuse(context: MeshOpenSSLContext, *args: object, **kwargs: object) -> object:
        # pyOpenSSL sets a mode when it makes a context.
        if not context._is_made:  # noqa: SLF001 - it is this module's
            return method(context, *args, **kwargs)
        msg = f"{name} of a context of a Mesh: {_ADVICE.get(name, _ANY)}"
        raise TypeError(msg)

    refuse.__doc__ = "Raise `TypeError`: nothing can be set on it."
    return refuse


for _name in dir(SSL.Context):
    if _name.startswith(_CHANGING) and _name != "set_app_data":
        setattr(MeshOpenSSLContext, _name, _refusing(_name, getattr(SSL.Context, _name)))
