"""`WorkloadApi`: a stream from the agent on this node."""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from meshid.errors import InvalidInput, MissingExtra, SourceUnavailable
from meshid.sources.source import State
from meshid.sources.workload.address import target_of
from meshid.sources.workload.messages import state_of
from meshid.support.quoting import quote

ADDRESS_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
"""The variable that has the address by convention (SPIFFE Workload Endpoint section 4)."""

_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
_METADATA = (("workload.spiffe.io", "true"),)
"""An agent must refuse calls without it: a web page in a browser cannot send it (section 3)."""

_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0
"""Seconds between attempts to reach an agent: doubled each time, from the first to the last."""

_JITTER = 0.2


class _Channel(Protocol):
    def close(self) -> None:
        """End it, and all of its calls."""


class _Call(Iterator[bytes], Protocol):
    def cancel(self) -> None:
        """End it, from any thread."""


class WorkloadApi:
    """Our own certificate, our trust bundle, those of partners, and revocation lists, from an agent.

    Each message of the agent is the whole state: what is absent from it is removed. A message
    that cannot be read, or an agent that is down, leaves the last good state in force. gRPC
    accepts messages of up to 4 MiB.

    gRPC does not survive a fork: a child keeps the last good state, and each read fails and says
    so. Make the mesh in the worker, or spawn it.

    Args:
        address: ``unix:///path/to/agent.sock`` or ``tcp://IP-ADDRESS:PORT``; that of
            ``SPIFFE_ENDPOINT_SOCKET`` if None.
        environ: The environment variables.

    Raises:
        InvalidInput: If there is no address, or if it is not valid.
        MissingExtra: Without the extra ``spire``.

    Attributes:
        name: What it is and where.
        is_required: True: without a certificate there is nothing to start with.
        is_stream: True: the agent sends each change.
    """

    is_required = True
    is_stream = True

    def __init__(self, address: str | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        address = address or (os.environ if environ is None else environ).get(ADDRESS_VARIABLE)
        if not address:
            msg = f"the Workload API has no address: pass one, or set {ADDRESS_VARIABLE}"
            raise InvalidInput(msg)
        self._target = target_of(address)
        self.name = f"Workload API {quote(address)}"
        try:
            self._grpc: Any = importlib.import_module("grpc")
            self._messages: Any = importlib.import_module("spiffe._proto.workload_pb2")
        except ImportError as error:
            extra = "spire"
            raise MissingExtra(extra) from error
        self._channel: _Channel | None = None
        self._call: _Call | None = None
        self._process: int | None = None
        self._failures = 0
        self._is_closed = False

    def read(self) -> State:
        """Return the state that the agent sends next; wait for it after the first.

        Returns:
            The state.

        Raises:
            SourceUnavailable: If the agent cannot be reached, or sends what cannot be used.
        """
        data = self._next()
        try:
            state = state_of(self._messages.X509SVIDResponse.FromString(data))
        except InvalidInput as error:
            raise self._fault("; ".join(str(error).splitlines())) from error
        # The decoder's own exception is in a module that depends on how protobuf was built.
        except Exception as error:
            fault = f"the response cannot be decoded: {type(error).__name__}"
            raise self._fault(fault) from error
        self._failures = 0
        return state

    def pause(self) -> float:
        """Return 0 while the stream is open, because `read` waits; after failures, more seconds each time."""
        if self._call is not None and not self._is_forked():
            return 0.0
        pause = min(_FIRST_PAUSE * 2.0 ** (self._failures - 1), _LAST_PAUSE)
        return pause * secrets.SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)

    def close(self) -> None:
        """End a read that waits, and refuse any further one; from any thread."""
        self._is_closed = True
        self._hang_up()

    def _next(self) -> bytes:
        # https://github.com/grpc/grpc/blob/master/doc/fork_support.md
        if self._is_forked():
            self._failures += 1
            fault = "gRPC does not survive a fork: make the mesh in the worker process, or spawn it"
            raise self._fault(fault)
        try:
            call = self._opened()
            # After `_call` is set: `close` sets `_is_closed` first and looks at `_call` then.
            if self._is_closed:
                call.cancel()
            return next(call)
        except StopIteration:
            fault = "the agent has ended the stream"
        except self._grpc.RpcError as error:
            fault = f"{error.code().name}: {quote(str(error.details()))}"
        self._hang_up()
        self._failures += 1
        raise self._fault(fault)

    def _opened(self) -> _Call:
        if self._call is None:
            self._process = os.getpid()
            channel = self._grpc.insecure_channel(self._target)
            # No decoder for gRPC: it would end the stream at the first message that is not valid.
            fetch = channel.unary_stream(_METHOD)
            self._channel = channel
            self._call = fetch(self._messages.X509SVIDRequest().SerializeToString(), metadata=_METADATA)
        return self._call

    def _is_forked(self) -> bool:
        return self._process is not None and self._process != os.getpid()

    def _hang_up(self) -> None:
        # A forked child has none of the channel's threads, and closing it would wait for them.
        if self._is_forked():
            return
        call, channel, self._call, self._channel = self._call, self._channel, None, None
        if call is not None:
            call.cancel()
        if channel is not None:
            channel.close()

    def _fault(self, fault: str) -> SourceUnavailable:
        return SourceUnavailable(f"{self.name}: {fault}")
