"""`WorkloadApi`: a stream from the agent on this node."""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from meshid.errors import InvalidInput, MeshidError, MissingExtra, SourceUnavailable
from meshid.names.spiffe_id import SpiffeId
from meshid.sources.source import State
from meshid.sources.workload.address import target_of
from meshid.sources.workload.choice import Choice, Pick
from meshid.sources.workload.messages import state_of
from meshid.support.quoting import one_line, quote

ADDRESS_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
"""The variable that has the address by convention (SPIFFE Workload Endpoint section 4)."""

_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
_METADATA = (("workload.spiffe.io", "true"),)
"""An agent must refuse calls without it: a web page in a browser cannot send it (section 3)."""

_OPTIONS = (("grpc.enable_http_proxy", 0),)
"""The agent is on this node: its answers, which have our private key, must not go by way of a proxy."""

_NO_IDENTITY = "PERMISSION_DENIED"
"""There is no identity for this process, or not yet (SPIFFE Workload Endpoint section 6). We ask again.
The standard would have us cease to use the last one (Workload API section 5.2.1); but an agent
that starts, or that cannot tell who we are for a moment, says the same, and to cease protects nobody:
our certificate ends by itself, and peers judge it by what they know."""

_FINAL = frozenset({"INVALID_ARGUMENT", "UNIMPLEMENTED"})
"""What must not be asked again (SPIFFE Workload Endpoint appendix A)."""

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

    Each message of the agent is the whole state: what is absent from it is removed. Of a part
    that cannot be read, or of an agent that is down or has no identity for us any more, the last
    good state stays in force. gRPC accepts messages of up to 4 MiB.

    An agent may offer several SVIDs. Without any of the arguments for that, the first one is
    ours, and from then on the one with the same SPIFFE ID, as long as the agent has it.

    gRPC does not survive a fork: a child keeps the last good state, and each read fails and says
    so. Make the mesh in the worker, or spawn it.

    Args:
        address: ``unix:///path/to/agent.sock`` or ``tcp://IP-ADDRESS:PORT``; that of
            ``SPIFFE_ENDPOINT_SOCKET`` if None.
        spiffe_id: The SPIFFE ID of the SVID to take.
        hint: The hint of the SVID to take; with *spiffe_id*, of those with that name.
        pick: Called with the SPIFFE ID and the hint of each SVID, in the order of the agent, as a
            tuple of pairs; returns one of the pairs.
        environ: The environment variables.

    Raises:
        InvalidInput: If there is no address, or if it or *spiffe_id* is not valid.
        MissingExtra: Without the extra ``spire``.
        TypeError: If *pick* is given along with *spiffe_id* or *hint*.

    Attributes:
        name: What it is and where.
        is_required: True: without a certificate there is nothing to start with.
        is_stream: True: the agent sends each change.
    """

    is_required = True
    is_stream = True

    def __init__(
        self,
        address: str | None = None,
        *,
        spiffe_id: SpiffeId | str | None = None,
        hint: str | None = None,
        pick: Pick | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        address = address or (os.environ if environ is None else environ).get(ADDRESS_VARIABLE)
        if not address:
            msg = f"the Workload API has no address: pass one, or set {ADDRESS_VARIABLE}"
            raise InvalidInput(msg)
        if pick is not None and not (spiffe_id is None and hint is None):
            msg = "pick decides alone: leave out spiffe_id and hint"
            raise TypeError(msg)
        name = None if spiffe_id is None else SpiffeId.parse(str(spiffe_id))
        self._choice = Choice(spiffe_id=name, hint=hint, pick=pick)
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
        self._last: State | None = None
        self._failures = 0
        self._is_closed = False
        self._final: str | None = None

    def read(self) -> State:
        """Return the state that the agent sends next; wait for it after the first.

        Returns:
            The state.

        Raises:
            SourceUnavailable: If the agent cannot be reached, or sends what cannot be used.
            InvalidInput: If the agent refuses the call as one that must not be made again.
        """
        data = self._next()
        outcome = self._read(data)
        # Raised here: a frame of the traceback that had the message would have our private key.
        del data
        if isinstance(outcome, str):
            raise self._fault(outcome)
        self._failures = 0
        self._last = outcome
        return outcome

    def pause(self) -> float:
        """Return 0 while the stream is open, because `read` waits; after failures, more seconds each time."""
        # To read it again says again what is wrong, without a call.
        if self._final is not None:
            return _FIRST_PAUSE
        if self._call is not None and not self._is_forked():
            return 0.0
        pause = min(_FIRST_PAUSE * 2.0 ** (self._failures - 1), _LAST_PAUSE)
        return pause * secrets.SystemRandom().uniform(1 - _JITTER, 1 + _JITTER)

    def close(self) -> None:
        """End a read that waits, and refuse any further one; from any thread."""
        self._is_closed = True
        self._hang_up()

    def _next(self) -> bytes:
        if self._final is not None:
            raise self._fault(self._final)
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
            fault = self._told(error.code().name, str(error.details()))
        self._hang_up()
        self._failures += 1
        raise self._fault(fault)

    def _read(self, data: bytes) -> State | str:
        """Return the state in a message, or what is wrong with it."""
        try:
            return state_of(self._messages.X509SVIDResponse.FromString(data), self._choice, self._last)
        except InvalidInput as error:
            return one_line(error)
        # The decoder's own exception is in a module that depends on how protobuf was built.
        except Exception as error:  # noqa: BLE001
            return f"the response cannot be decoded: {type(error).__name__}"

    def _told(self, code: str, details: str) -> str:
        """Return what the status at the end of a stream means."""
        told = f"{code}: {quote(details)}"
        if code in _FINAL:
            self._final = (
                f"{told}: is this the address of a Workload API?"
                " meshid does not ask again: correct it, and restart this process"
            )
            return self._final
        if code != _NO_IDENTITY:
            return told
        own = None if self._last is None else self._last.credentials
        if own is None:
            return f"{told}: the agent has no identity for this process yet; has it a registration entry?"
        return (
            f"{told}: the agent has no identity for this process any more;"
            f" the last one stays until {own.leaf.not_valid_after_utc}"
        )

    def _opened(self) -> _Call:
        if self._call is None:
            self._process = os.getpid()
            channel = self._grpc.insecure_channel(self._target, options=_OPTIONS)
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

    def _fault(self, fault: str) -> MeshidError:
        kind = SourceUnavailable if self._final is None else InvalidInput
        return kind(f"{self.name}: {fault}")
