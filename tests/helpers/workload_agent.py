"""An agent: a real gRPC server that speaks the Workload API, and sends what a test gives it."""

from __future__ import annotations

import queue
from collections.abc import Iterator
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
    """Answers each call with what a test gives it: messages, an end of the stream, a status."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"
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
        self._server.add_insecure_port(self.address)
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


def message(  # noqa: PLR0913 - all named
    ca: CA,
    issued: Issued,
    *,
    name: str = "",
    key: bytes | None = None,
    chain: bytes | None = None,
    bundle: bytes | None = None,
    federated: dict[str, bytes] | None = None,
    crls: tuple[bytes, ...] = (),
) -> bytes:
    """Return a valid message, except for what is given."""
    svid = workload_pb2.X509SVID(
        spiffe_id=name or str(issued.svid.claim.spiffe_id),
        x509_svid=b"".join(issued.chain) if chain is None else chain,
        x509_svid_key=pkcs8(issued) if key is None else key,
        bundle=authorities(ca.bundle()) if bundle is None else bundle,
    )
    response = workload_pb2.X509SVIDResponse(svids=[svid], crl=crls, federated_bundles=federated or {})
    return bytes(response.SerializeToString())
