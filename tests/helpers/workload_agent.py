"""An agent: a real gRPC server that speaks the Workload API, and sends what a test gives it."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives import serialization
from spiffe._proto import workload_pb2

from meshid.certificates.reading import to_der
from meshid.testing import CA, Issued
from meshid.trust.bundles import TrustBundle


class Agent:
    """Answers each call with what a test gives it: messages, an end of the stream, a status.

    Args:
        where: The path of its socket; or an IP address, where it takes a free TCP port.
    """

    def __init__(self, where: Path | str) -> None:
        self._ip = where if isinstance(where, str) else None
        self.address = f"unix://{where}"
        self.calls = 0
        self.metadata: dict[str, object] = {}
        self._outbox: queue.SimpleQueue[bytes | grpc.StatusCode | None] = queue.SimpleQueue()
        self._server: Any = None
        self.start()

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(4))
        handler: Any = grpc.unary_stream_rpc_method_handler(self._fetch)
        service = grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchX509SVID": handler})
        self._server.add_generic_rpc_handlers((service,))
        if self._ip is None:
            self._server.add_insecure_port(self.address)
        else:
            self.address = f"tcp://{self._ip}:{self._server.add_insecure_port(f'{self._ip}:0')}"
        self._server.start()

    def stop(self) -> None:
        self._outbox.put(None)
        self._server.stop(0).wait()
        self._outbox = queue.SimpleQueue()

    def send(self, what: bytes | grpc.StatusCode | None) -> None:
        """Send bytes; or end the stream, with a status or without."""
        self._outbox.put(what)

    def _fetch(self, _: bytes, context: Any) -> Iterator[bytes]:  # noqa: ANN401 - gRPC has no types
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        outbox = self._outbox
        while context.is_active():
            try:
                what = outbox.get(timeout=0.05)
            except queue.Empty:
                continue
            if what is None:
                return
            if isinstance(what, grpc.StatusCode):
                context.abort(what, "as the test wants")
            else:
                yield what


def pkcs8(issued: Issued) -> bytes:
    return issued.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def authorities(bundle: TrustBundle) -> bytes:
    return b"".join(map(to_der, bundle.authorities))


def svid(  # noqa: PLR0913 - all named
    ca: CA,
    issued: Issued,
    *,
    hint: str = "",
    name: str | None = None,
    key: bytes | None = None,
    chain: bytes | None = None,
    bundle: bytes | None = None,
) -> workload_pb2.X509SVID:
    """Return a valid SVID, except for what is given."""
    return workload_pb2.X509SVID(
        spiffe_id=str(issued.svid.claim.spiffe_id) if name is None else name,
        x509_svid=b"".join(issued.chain) if chain is None else chain,
        x509_svid_key=pkcs8(issued) if key is None else key,
        bundle=authorities(ca.bundle()) if bundle is None else bundle,
        hint=hint,
    )


def response(
    *svids: workload_pb2.X509SVID, federated: Mapping[str, bytes] = {}, crls: Sequence[bytes] = ()
) -> bytes:
    """Return a message with these SVIDs."""
    message = workload_pb2.X509SVIDResponse(svids=svids, crl=crls, federated_bundles=federated)
    return bytes(message.SerializeToString())


def message(  # noqa: PLR0913 - all named
    ca: CA,
    issued: Issued,
    *,
    name: str | None = None,
    key: bytes | None = None,
    chain: bytes | None = None,
    bundle: bytes | None = None,
    federated: Mapping[str, bytes] = {},
    crls: Sequence[bytes] = (),
) -> bytes:
    """Return a valid message with one SVID, except for what is given."""
    only = svid(ca, issued, name=name, key=key, chain=chain, bundle=bundle)
    return response(only, federated=federated, crls=crls)
