"""What a context shows to libraries and users, and what setting something on it does.

The rules of this module:

- What it shows is what its connections do, and errs to the strict side: a library may build a
  context of its own from it (niquests with rtls does).
- What is set takes effect if it only narrows. What would loosen is an error that says what to do
  instead, except where libraries do it in passing: then it is ignored.
- The context underneath makes no connection. It has no certificate and trusts nobody, so that a
  library that uses it as a plain `ssl.SSLContext` gets no handshake at all.
"""

from __future__ import annotations

import inspect
import ssl
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, NoReturn, SupportsIndex

from typing_extensions import override

from meshid.support.locks import Order, new_lock
from meshid.tls.tls_settings import NARROWED, TlsSettings, ciphers_within, curve_within, protocols

_CREDENTIALS = "give the certificate and its key to the Mesh: Mesh(credentials=...) or Mesh.publish()"
_FIXED = {
    "verify_mode": "leave verify=False out; a peer outside of the mesh needs an ssl.SSLContext",
    "verify_flags": "the Mesh verifies: give it CRLs and denied peers, Mesh(revocations=...)",
    "check_hostname": "a server knows no host name of its client; the policy says who may come",
    "hostname_checks_common_name": "a peer is known by its SPIFFE ID",
    "post_handshake_auth": "each peer is asked for its certificate in the handshake",
}
_UNUSED = {
    "sni_callback": "give each name a listener of its own",
    "_msg_callback": "the audit events tell of each handshake",
}
_NO_USE = "a MeshContext has no use for it"

# PyMongo sets the first for each connection but its first; urllib3 is told assert_hostname=False.
_IGNORED = {"sslobject_class", "sslsocket_class"}
_IGNORED_ON_CLIENTS = {*_IGNORED, "check_hostname"}


class Facade(ssl.SSLContext):
    """The part of a context that libraries look at and set.

    Args:
        settings: What it is made with, and what is set on it stays within.
    """

    # OpenSSL's default is True, and no connection of ours compares host names.
    hostname_checks_common_name = False

    def __init__(self, settings: TlsSettings) -> None:
        is_client = self.protocol is ssl.PROTOCOL_TLS_CLIENT
        put = ssl.SSLContext.__setattr__
        put(self, "verify_mode", ssl.CERT_REQUIRED)
        # As in each generation: an authority of ours need not be a root.
        put(self, "verify_flags", self.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN)
        # A server is matched by its SPIFFE ID. Libraries to whom this is False match host names on their own.
        put(self, "check_hostname", is_client)
        settings.apply(self)
        self._ignored = _IGNORED_ON_CLIENTS if is_client else _IGNORED
        self._changing = new_lock(Order.BUILDING)
        self._limits = settings
        self._settings = settings

    @abstractmethod
    def _authorities(self) -> bytes:
        """Return the authorities in force as DER, one after the other."""

    # -- What it shows: all else is shown by the context underneath ---------------

    @override
    def cert_store_stats(self) -> dict[str, int]:
        """Count the authorities in force, as `ssl.SSLContext.cert_store_stats` does."""
        return self._store().cert_store_stats()

    @override
    def get_ca_certs(self, binary_form: bool = False) -> list[Any]:
        """Return the authorities in force, of all trust domains, as `ssl.SSLContext.get_ca_certs` does."""
        authorities: list[Any] = self._store().get_ca_certs(binary_form)
        return authorities

    def _store(self) -> ssl.SSLContext:
        store = ssl.SSLContext(self.protocol)
        if authorities := self._authorities():
            store.load_verify_locations(cadata=authorities)
        return store

    # -- What is set --------------------------------------------------------------

    @override
    def __setattr__(self, name: str, value: object) -> None:
        """Set what only narrows; refuse or ignore the rest.

        Raises:
            ValueError, TypeError, AttributeError: If it would loosen, or could have no effect.
        """
        if narrow := NARROWED.get(name):
            self._change(name, narrow(self._limits, value))
        elif not inspect.isdatadescriptor(inspect.getattr_static(ssl.SSLContext, name, None)):
            if name not in _IGNORED:
                super().__setattr__(name, value)
        elif name not in self._ignored and value != getattr(self, name):
            if name in _FIXED:
                msg = f"{name} of a MeshContext cannot be {value!r}: {_FIXED[name]}"
                raise ValueError(msg)
            # Cheroot sets an SNI callback, and expects this where there are none.
            msg = f"{name} of a MeshContext cannot be set: {_UNUSED.get(name, _NO_USE)}"
            raise AttributeError(msg)

    @override
    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer these protocols from the next handshake on (RFC 7301).

        Raises:
            TypeError, ValueError: If they cannot be offered.
        """
        self._change("alpn", protocols(alpn_protocols))

    @override
    def set_ciphers(self, cipherlist: str, /) -> None:
        """Offer only these ciphers of TLS 1.2 from the next handshake on.

        Raises:
            ValueError: If a context of ours would not offer all of them.
            ssl.SSLError: If OpenSSL knows none of them.
        """
        self._change("ciphers", ciphers_within(self.protocol, cipherlist))

    @override
    def set_ecdh_curve(self, name: str, /) -> None:
        """Use only this curve for the key exchange, from the next handshake on.

        Raises:
            ValueError: If TLS 1.3 does not have it.
        """
        self._change("curve", curve_within(name))

    def _change(self, name: str, value: object) -> None:
        while True:
            before = self._settings
            after = before.with_change(name, value)
            # Some clients set the same protocols before each connection; an equal value builds nothing.
            if after == before:
                return
            self._show(name, value)
            with self._changing:
                # Another thread or a signal handler may have set something else meanwhile.
                if self._settings is before:
                    self._settings = after
                    return

    def _show(self, name: str, value: object) -> None:
        if name in NARROWED:
            super().__setattr__(name, value)
        elif name == "ciphers":
            super().set_ciphers(str(value))

    # -- What libraries load in passing, and what would loosen --------------------

    @override
    def load_verify_locations(
        self, cafile: object = None, capath: object = None, cadata: object = None
    ) -> None:
        """Load nothing, since requests loads its own CAs into each context: the Mesh has the bundles."""

    @override
    def load_default_certs(self, purpose: object = None) -> None:
        """Load nothing: the Mesh has the bundles."""

    @override
    def set_default_verify_paths(self) -> None:
        """Load nothing: the Mesh has the bundles."""

    @override
    def load_cert_chain(self, certfile: object, keyfile: object = None, password: object = None) -> NoReturn:
        """Raise `TypeError`: the Mesh has the credentials."""
        msg = f"a MeshContext loads no certificate: {_CREDENTIALS}"
        raise TypeError(msg)

    @override
    def load_dh_params(self, path: object, /) -> NoReturn:
        """Raise `TypeError`: OpenSSL's own parameters are used."""
        msg = "a MeshContext takes no Diffie-Hellman parameters: leave them out"
        raise TypeError(msg)

    # Not `@override`: they are new in Python 3.13.
    def set_psk_client_callback(self, callback: object) -> NoReturn:
        """Raise `TypeError`, whatever the *callback*: with a pre-shared key, nobody shows a certificate."""
        _refuse_shared_key(callback)

    def set_psk_server_callback(self, callback: object, identity_hint: object = None) -> NoReturn:
        """Raise `TypeError`, whatever the *callback* and the *identity_hint*, as for a client."""
        _refuse_shared_key(callback, identity_hint)

    @override
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn:
        """Raise `TypeError`: it belongs to its Mesh."""
        msg = (
            "a MeshContext cannot be copied or pickled: share it between threads, and make another one,"
            " by Mesh.server_context() or Mesh.client_context(), in each process"
        )
        raise TypeError(msg)


def _refuse_shared_key(*_: object) -> NoReturn:
    msg = "a MeshContext takes no pre-shared key: each peer has a certificate"
    raise TypeError(msg)
