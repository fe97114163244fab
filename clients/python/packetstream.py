# SPDX-License-Identifier: MIT
# Copyright (c) the packetstream authors
"""Packet connections: many requests in flight, both ways, over one pair of byte streams.

This one file speaks the packetstream protocol and its extensions (docs/PROTOCOL.md of the packetstream project),
and needs nothing but Python 3.9 or later. Copy it into a project. A helper that serves on its standard input and
output, and a host that starts it and calls it:

    import packetstream

    def handler(request):
        day = request.connection.call(2, b"which day is it?").text
        return "hello %s, happy %s" % (request.text, day)

    packetstream.Connection.stdio(handler).wait()

    with packetstream.Connection.spawn(["python3", "helper.py"], lambda request: "Monday") as connection:
        print(connection.call(1, b"Ada").text)

Connection has blocking methods, for threads; AsyncConnection has the same for asyncio. Both are faces of Core, which
does no I/O: bytes go in, and bytes and events come out.

The sections of this file: errors; numbers, packets and fields; frames; values; streams without I/O; Core;
descriptors; what both faces have; Connection; AsyncConnection.
"""

import asyncio
import contextlib
import contextvars
import errno
import inspect
import logging
import os
import queue
import select
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

__all__ = [
    "AsyncConnection", "AsyncStream", "CallCancelled", "CallTimeout", "ClosedError", "Connection", "Core",
    "EndedError", "GoingAwayError", "HandlerError", "LimitError", "NoExtensionsError", "Packet", "PacketError",
    "PeerClosedError", "PeerGoneError", "PendingCall", "ProtocolError", "RemoteError", "RemoteTimeout", "Reply",
    "Request", "Response", "Stream", "StreamError", "decode_packet", "decode_uint", "encode_packet", "encode_uint",
]

log = logging.getLogger("packetstream")

# --- Errors ----------------------------------------------------------------------------------------------------


class PacketError(Exception):
    """What all errors of this module are."""


class EndedError(PacketError):
    """The connection has ended. Everybody who waits for something gets one and the same error."""


class ClosedError(EndedError):
    """This end closed the connection, or is about to."""


class PeerClosedError(EndedError):
    """The peer ended the connection in good order, or its process ended."""


class PeerGoneError(EndedError):
    """The peer no longer takes what is sent."""


class ProtocolError(EndedError):
    """The peer sent what is not of the protocol. quote has the first bytes of it, offset their place in what came."""

    def __init__(self, reason: str, quote: bytes = b"", offset: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.quote, self.offset = reason, quote, offset

    def __str__(self) -> str:
        text = "at byte %d: %s" % (self.offset, self.reason)
        return text + ", it begins %r" % self.quote if self.quote else text


class LimitError(EndedError):
    """Something exceeds a limit. Raised by a call it concerns that call alone."""

    def __init__(self, what: str, value: int, limit: int) -> None:
        super().__init__("%s: %d is over the limit of %d" % (what, value, limit))
        self.what, self.value, self.limit = what, value, limit


class NoExtensionsError(PacketError):
    """The peer has no extensions, or they are off: no metadata, streams, ping."""


class GoingAwayError(PacketError):
    """The peer takes no new requests. This one was not sent."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__("the peer is going away (code %d): %s" % (code, text))
        self.code, self.text = code, text


class CallTimeout(PacketError, TimeoutError):
    """The call was not answered in time."""


class CallCancelled(PacketError):
    """The call was cancelled by its caller; or the reason why a request's handler should stop."""

    def __init__(self, text: str = "", code: int = 0, deadline: bool = False) -> None:
        super().__init__(text or ("the deadline is over" if deadline else "cancelled"))
        self.text, self.code, self.deadline = text, code, deadline


class RemoteError(PacketError):
    """A response that says "not ok": the peer rejected the request, or its handler failed.

    Only peers with extensions tell code, details (pairs of text and bytes), metadata, and the reason: REFUSED and
    GOING_AWAY if no handler has seen the request, DEADLINE if its time was over, else 0.
    """

    def __init__(self, flags: int, payload: bytes, headers: "Optional[Headers]" = None) -> None:
        self.flags, self.payload = flags, payload
        headers = headers or Headers()
        self.code, self.details, self.reason = headers.code, headers.details, headers.reason
        self.metadata = headers.metadata
        self.text = payload.decode("utf-8", "backslashreplace")
        super().__init__(self.text)


class RemoteTimeout(RemoteError, CallTimeout):
    """A RemoteError because the call's time was over, as a CallTimeout is: the peer's handler has ended with it."""


class HandlerError(PacketError):
    """What a handler raises for the peer to see: a text of at most 1 KiB, a code, and details. Any other exception
    is told to the peer as "exception during handler"."""

    def __init__(self, text: str, code: int = 0, details: "Pairs" = ()) -> None:
        super().__init__(text)
        if not 0 <= code <= MAX_NUMBER:
            raise ValueError("code %d does not fit into 64 bits" % code)
        self.text, self.code, self.details = text, code, _pairs(details)


class StreamError(PacketError):
    """A stream, or one direction of it, was ended by force. stopped: the reader wants no more, and the other
    direction goes on. refused: the stream was never accepted. remote: the peer did it."""

    def __init__(self, what: str, code: int = 0, text: str = "", *, stopped: bool = False, refused: bool = False,
                 remote: bool = True) -> None:
        super().__init__(what + (", code %d" % code if code else "") + (": " + text if text else ""))
        self.code, self.text, self.stopped, self.refused, self.remote = code, text, stopped, refused, remote


# --- Numbers, packets and fields -------------------------------------------------------------------------------

MAX_NUMBER = (1 << 64) - 1
MAX_NUMBER_OCTETS = 256
MAX_FLAGS = (1 << 62) - 1  # of a packet; a response's in the API have one bit less
HARD_PAYLOAD = 2 << 30

EOF_PACKET = b"\x03\x00\x02\x00"

Pairs = Any  # an iterable of (str, bytes), or a mapping


class _Incomplete(Exception):
    """The bytes end before what is read does."""


_ONE = [bytes((i,)) for i in range(128)]


def encode_uint(n: int) -> bytes:
    """Encode a number of at most 64 bits: groups of 7 bits, the most significant first."""
    if 0 <= n < 128:
        return _ONE[n]
    if n < 0 or n > MAX_NUMBER:
        raise ValueError("%d is no number of 64 bits" % n)
    out = bytearray((n & 0x7F,))
    n >>= 7
    while n:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.reverse()
    return bytes(out)


def _number(data: Any, pos: int, end: int, limit: int, what: str) -> Tuple[int, int]:
    """Read a number from data[pos:end]. limit is where the packet that it is in ends."""
    if pos < end:
        b = data[pos]
        if b < 128:
            return b, pos + 1
    value, start = 0, pos
    while pos < end:
        b = data[pos]
        pos += 1
        value = value << 7 | b & 0x7F
        if value > MAX_NUMBER:
            raise ProtocolError("%s of more than 64 bits" % what)
        if b < 128:
            return value, pos
        if pos - start >= MAX_NUMBER_OCTETS:
            raise ProtocolError("%s of more than %d octets" % (what, MAX_NUMBER_OCTETS))
    if end == limit:
        raise ProtocolError("the packet ends in its %s" % what)
    raise _Incomplete


def decode_uint(data: bytes, pos: int = 0) -> Tuple[int, int]:
    """Read a number at pos; return it and the position behind it. ProtocolError if it is cut or too large."""
    return _number(data, pos, len(data), len(data), "number")


def _parse_header(data: bytes, pos: int, end: int) -> Tuple[bool, int, int, int, int, int, int]:
    """Read a packet's header: request?, channel, tag, flags, wire type, payload's size, payload's position."""
    length, pos = _number(data, pos, end, -1, "length")
    if length > HARD_PAYLOAD + 4 * MAX_NUMBER_OCTETS:
        raise ProtocolError("a packet of %d bytes" % length)
    limit = pos + length
    if limit < end:
        end = limit
    tag, pos = _number(data, pos, end, limit, "tag")
    bits, pos = _number(data, pos, end, limit, "flags")
    channel = kind = 0
    if bits & 1:
        channel, pos = _number(data, pos, end, limit, "channel")
    if bits & 2:
        kind, pos = _number(data, pos, end, limit, "type")
    if limit - pos > HARD_PAYLOAD:
        raise ProtocolError("a payload of %d bytes" % (limit - pos))
    return bits & 2 != 0, channel, tag, bits >> 2, kind, limit - pos, pos


def _header(request: bool, channel: int, tag: int, flags: int, kind: int, size: int) -> bytes:
    """Encode a packet's header; kind is the type on the wire."""
    bits = flags << 2 | (2 if request else 0)
    if channel:
        head = encode_uint(tag) + encode_uint(bits | 1) + encode_uint(channel)
    else:
        head = encode_uint(tag) + encode_uint(bits)
    if request:
        head += encode_uint(kind)
    return encode_uint(len(head) + size) + head


class Packet(NamedTuple):
    """One packet as it is on the wire: type is one more than in the API, and a response's flags have "ok" as bit 0."""

    request: bool
    tag: int
    flags: int = 0
    channel: int = 0
    type: int = 0
    payload: bytes = b""


def encode_packet(p: Packet) -> bytes:
    """Encode a packet in its shortest form."""
    return _header(p.request, p.channel, p.tag, p.flags, p.type, len(p.payload)) + p.payload


def decode_packet(data: bytes, pos: int = 0) -> Tuple[Packet, int]:
    """Read a packet at pos; return it and the position behind it. ProtocolError if there is no whole one."""
    try:
        request, channel, tag, flags, kind, size, start = _parse_header(data, pos, len(data))
    except _Incomplete:
        raise ProtocolError("the bytes end inside a packet's header") from None
    if start + size > len(data):
        raise ProtocolError("the bytes end inside a packet's payload")
    return Packet(request, tag, flags, channel, kind, bytes(data[start : start + size])), start + size


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _clip(text: str, most: int) -> bytes:
    """The text as UTF-8, cut to at most so many octets, and not inside a character."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > most:
        data = data[:most].decode("utf-8", "ignore").encode()
    return data


def _field(key: int, value: bytes) -> bytes:
    return encode_uint(key) + encode_uint(len(value)) + value


def _number_field(key: int, n: int) -> bytes:
    return _field(key, encode_uint(n)) if n else b""


def _pair_fields(key: int, pairs: "List[Tuple[str, bytes]]") -> bytes:
    out = []
    for name, value in pairs:
        octets = _octets(name)
        out.append(_field(key, encode_uint(len(octets)) + octets + value))
    return b"".join(out)


def _pairs(pairs: Pairs) -> "List[Tuple[str, bytes]]":
    """Check pairs that a user gives."""
    if hasattr(pairs, "items"):
        pairs = pairs.items()
    return [(name, value.encode() if isinstance(value, str) else bytes(value)) for name, value in pairs]


def _pairs_size(pairs: "List[Tuple[str, bytes]]") -> int:
    """What pairs count against bounds."""
    return sum(len(_octets(name)) + len(value) + 32 for name, value in pairs)


def _take_fields(data: bytes, spec: Dict[int, str]) -> Dict[int, Any]:
    """Read a payload of fields. spec gives the kind of each known key: number, text, bytes or pair."""
    found: Dict[int, Any] = {}
    pos, end = 0, len(data)
    while pos < end:
        key, pos = _number(data, pos, end, end, "field's key")
        size, pos = _number(data, pos, end, end, "field's length")
        if size > end - pos:
            raise ProtocolError("the payload ends inside field %d" % key)
        value = data[pos : pos + size]
        pos += size
        kind = spec.get(key)
        if kind is None:
            continue
        if kind == "pair":
            length, start = _number(value, 0, size, size, "pair")
            if length > size - start:
                raise ProtocolError("a pair of field %d ends inside its key" % key)
            found.setdefault(key, []).append((_text(value[start : start + length]), value[start + length :]))
            continue
        if key in found:
            raise ProtocolError("field %d stands twice" % key)
        if kind == "number":
            found[key], used = _number(value, 0, size, size, "field")
            if used != size:
                raise ProtocolError("octets behind the number of field %d" % key)
        else:
            found[key] = _text(value) if kind == "text" else value
    return found


# --- Frames ----------------------------------------------------------------------------------------------------

EXTENSIONS = 127  # the channel of frames
HELLO, PING, GOAWAY, CANCEL, HEADERS, PIECE, OPEN, DATA, END, STOP, RESET, CREDIT = range(12)
FRAME_NAMES = "HELLO PING GOAWAY CANCEL HEADERS PIECE OPEN DATA END STOP RESET CREDIT".split()
FEATURE_STREAMS, FEATURE_PIECES = 1, 2

REFUSED, GOING_AWAY, DEADLINE, CANCELLED = 1, 2, 3, 4  # reasons

_HELLO_FIELDS = {n: "number" for n in (1, 2, 4, 5, 6, 7, 8, 9, 10)}
_HELLO_FIELDS[3] = "bytes"
_GOAWAY_FIELDS = {1: "number", 2: "text"}
_CANCEL_FIELDS = {1: "number", 2: "number", 3: "number", 4: "text"}
_HEADERS_FIELDS = {1: "number", 2: "pair", 3: "number", 4: "pair", 5: "number"}
_OPEN_FIELDS = {1: "text", 2: "pair", 3: "number"}
_RESET_FIELDS = {1: "number", 2: "number", 3: "text"}


def _frame(kind: int, tag: int, flags: int = 0, payload: bytes = b"") -> bytes:
    return _header(True, EXTENSIONS, tag, flags, kind + 1, len(payload)) + payload


class Headers:
    """What a HEADERS says of the request or response that follows it."""

    __slots__ = ("timeout", "metadata", "code", "details", "reason", "size", "too_large")

    def __init__(self, timeout: int = 0, metadata: Any = (), code: int = 0, details: Any = (),
                 reason: int = 0) -> None:
        self.timeout = timeout  # in microseconds
        self.metadata, self.code, self.details, self.reason = list(metadata), code, list(details), reason
        self.size = 0 if not (metadata or details) else _pairs_size(self.metadata) + _pairs_size(self.details)
        self.too_large = 0

    @classmethod
    def parse(cls, data: bytes) -> "Headers":
        f = _take_fields(data, _HEADERS_FIELDS)
        return cls(f.get(1, 0), f.get(2, ()), f.get(3, 0), f.get(4, ()), f.get(5, 0))

    def encode(self) -> bytes:
        return b"".join((_number_field(1, self.timeout), _pair_fields(2, self.metadata), _number_field(3, self.code),
                         _pair_fields(4, self.details), _number_field(5, self.reason)))


# --- Values ----------------------------------------------------------------------------------------------------


class Response(NamedTuple):
    """An ok answer."""

    flags: int
    payload: bytes
    metadata: "List[Tuple[str, bytes]]"

    @property
    def text(self) -> str:
        return self.payload.decode("utf-8", "surrogateescape")


class Reply(NamedTuple):
    """A handler's result that has metadata."""

    payload: Any = b""
    flags: int = 0
    metadata: Pairs = ()


class Request:
    """A request of the peer, as a handler sees it."""

    __slots__ = ("connection", "channel", "type", "flags", "payload", "metadata", "deadline", "cause", "tag",
                 "_size", "_abandoned", "_repeated", "_face", "_clock")

    def __init__(self, channel: int, tag: int, kind: int, flags: int, payload: bytes, clock: Callable[[], float]):
        self.connection: Any = None
        self.channel, self.tag, self.type, self.flags, self.payload = channel, tag, kind, flags, payload
        self.metadata: List[Tuple[str, bytes]] = []
        self.deadline: Optional[float] = None  # by time.monotonic(), or None
        self.cause: Optional[BaseException] = None  # why the handler should stop, or None
        self._size = len(payload)
        self._abandoned = self._repeated = False
        self._face: Any = None
        self._clock = clock

    @property
    def text(self) -> str:
        return self.payload.decode("utf-8", "surrogateescape")

    @property
    def time_left(self) -> Optional[float]:
        """Seconds that the caller still waits, or None if it has not said."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more: cause says why."""
        if self.cause is None and self.deadline is not None and self._clock() >= self.deadline:
            self.cause = CallCancelled(deadline=True)
        return self.cause is not None

    def wait_cancelled(self, timeout: Optional[float] = None) -> bool:
        """Wait until the request is cancelled or its deadline is over, for at most timeout seconds; return whether
        it is. It is for handlers of Connection; those of AsyncConnection are cancelled as tasks."""
        return self.connection._wait_cancelled(self, timeout)


def _answer(result: Any) -> Tuple[int, bytes, Any]:
    """Make flags, payload and metadata of a handler's result."""
    metadata: Any = ()
    if isinstance(result, Reply):
        metadata = _pairs(result.metadata)
        result = (result.flags, result.payload.encode("utf-8", "xmlcharrefreplace")
                  if isinstance(result.payload, str) else result.payload)
    if result is None:
        return 0, b"", metadata
    if isinstance(result, int):
        return int(result), b"", metadata
    if isinstance(result, (bytes, bytearray, memoryview)):
        return 0, bytes(result), metadata
    if isinstance(result, str):
        return 0, result.encode("utf-8", "xmlcharrefreplace"), metadata
    if isinstance(result, (tuple, list)) and len(result) == 2:
        flags, payload = result
        if isinstance(flags, int) and isinstance(payload, (bytes, bytearray, memoryview)):
            return int(flags), bytes(payload), metadata
    raise TypeError("a handler's result is a %s" % type(result).__name__)


class Call:
    """One request of ours, until it is answered. Core sets response or error once."""

    __slots__ = ("channel", "tag", "type", "flags", "payload", "metadata", "deadline", "size", "state", "response",
                 "error", "face")

    WAITING, QUEUED, SENT, DONE = range(4)

    def __init__(self, channel: int, kind: int, flags: int, payload: bytes, metadata: Any, deadline: Any):
        self.channel, self.type, self.flags, self.payload = channel, kind, flags, payload
        self.metadata, self.deadline = metadata, deadline
        self.tag = 0
        self.size = len(payload) + (_pairs_size(metadata) if metadata else 0)
        self.state = Call.WAITING
        self.response: Optional[Response] = None
        self.error: Optional[BaseException] = None
        self.face: Any = None

    def result(self) -> Response:
        """The answer of a call that is done. An error is raised."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        assert self.response is not None
        return self.response


class _Answer:
    """A response that waits to be sent."""

    __slots__ = ("request", "head", "flags", "payload", "headers")

    def __init__(self, request: Request, flags: int, payload: bytes, headers: bytes) -> None:
        self.request, self.flags, self.payload, self.headers = request, flags, payload, headers


class Ping:
    """One PING that is waited for."""

    __slots__ = ("sent", "trip", "error", "face")

    def __init__(self, sent: float) -> None:
        self.sent = sent
        self.trip: Optional[float] = None
        self.error: Optional[BaseException] = None
        self.face: Any = None

    def result(self) -> float:
        """The seconds that a ping has taken which is done. An error is raised."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        assert self.trip is not None
        return self.trip


class _Partial:
    """A payload of which pieces have come."""

    __slots__ = ("total", "got", "chunks", "headers", "dropped")

    def __init__(self, total: int, headers: Optional[Headers], dropped: bool) -> None:
        self.total, self.headers, self.dropped = total, headers, dropped
        self.got = 0
        self.chunks: List[bytes] = []


# --- Streams, without I/O --------------------------------------------------------------------------------------

MAX_PIECE = 32 << 10
SEND_BUFFER = 64 << 10
SMALL_WRITES = 4 << 10  # below this, writes are put together
MAX_CREDIT = 1 << 40
MAX_STREAM_NAME = MAX_STREAM_TEXT = 1024


class CoreStream:
    """The state of a stream. recv and send are the two states of the table in chapter 12.8 of the protocol; send is
    ENDING while END waits behind data."""

    OPEN, STOPPED, RESET, ENDED = "open", "stopped", "reset", "ended"
    SENDING, ENDING = "sending", "ending"

    __slots__ = ("number", "ours", "name", "metadata", "recv", "send", "chunks", "unread", "left", "taken", "window",
                 "limited", "read_error", "pending", "unsent", "credit", "write_error", "due_reset", "due_stop",
                 "due_credit", "in_turns", "in_control", "accepted", "face")

    def __init__(self, number: int, ours: bool, name: str, metadata: Any, window: int, credit: int) -> None:
        self.number, self.ours, self.name, self.metadata = number, ours, name, metadata
        self.recv, self.send = self.OPEN, self.SENDING
        self.chunks: "deque[bytes]" = deque()  # received and not read
        self.unread = 0
        self.window, self.left, self.taken, self.limited = window, window, 0, False
        self.read_error: Optional[BaseException] = None
        self.pending: "deque[bytes]" = deque()  # written and not sent
        self.unsent = 0
        self.credit = credit
        self.write_error: Optional[BaseException] = None
        self.due_reset: Optional[bytes] = None
        self.due_stop: Optional[bytes] = None
        self.due_credit = 0
        self.in_turns = self.in_control = self.accepted = False
        self.face: Any = None

    @property
    def over(self) -> bool:
        return self.recv == self.ENDED and self.send == self.ENDED

    def __str__(self) -> str:
        return "stream %d of %s" % (self.number, "this end" if self.ours else "the peer")

    def emit(self, core: "Core", out: List[bytes]) -> int:
        """Append one DATA, and END if nothing follows. Return how many bytes that is."""
        if self.send == self.ENDED:
            self.pending.clear()
            return 0
        size = 0
        flag = 0 if self.ours else 1
        if self.pending and self.credit:
            chunk = self.pending.popleft()
            if len(chunk) > self.credit:
                self.pending.appendleft(chunk[self.credit :])
                chunk = chunk[: self.credit]
            size = len(chunk)
            self.credit -= size
            self.unsent -= size
            out.append(_header(True, EXTENSIONS, self.number, flag, DATA + 1, size))
            out.append(chunk)
            core.events.append(("stream", self))
        if not self.pending and self.send == self.ENDING:
            out.append(_frame(END, self.number, flag))
            core._ended_sending(self)
        return size + 16

    def more(self) -> bool:
        """Whether it has something to send in its next turn."""
        return bool(self.pending and self.credit) or (self.send == self.ENDING and not self.pending)


class _Bulk:
    """A large request or response, which is sent in pieces."""

    __slots__ = ("item", "answer", "tag", "payload", "at", "headers")

    def __init__(self, item: Any, tag: int, payload: bytes) -> None:
        self.item, self.answer = item, isinstance(item, _Answer)
        self.tag, self.payload, self.at = tag, payload, 0

    def given_up(self) -> bool:
        if self.answer:
            return self.item.request._abandoned
        return self.item.state == Call.DONE

    def emit(self, core: "Core", out: List[bytes]) -> int:
        begin = self.at
        rest = len(self.payload) - begin
        if begin == 0:
            core._begin_bulk(self, out)
        if rest <= MAX_PIECE:
            out.append(core._head_of(self.item, rest))
            out.append(self.payload[begin:])
            self.at = len(self.payload)
            core._left(self.item)
            core._end_bulk(self)
            return rest + 16
        self.at = begin + MAX_PIECE
        flags = len(self.payload) << 1 | self.answer
        out.append(_header(True, EXTENSIONS, self.tag, flags, PIECE + 1, MAX_PIECE))
        out.append(self.payload[begin : self.at])
        return MAX_PIECE + 16

    def more(self) -> bool:
        return self.at < len(self.payload)


# --- Core ------------------------------------------------------------------------------------------------------

# Bounds, as section 8 and 12.10 of the protocol have them.
MAX_OUTSTANDING = 16384
MAX_OUTSTANDING_BYTES = 64 << 20
HARD_REQUESTS = 4 * MAX_OUTSTANDING
MAX_CONTROL = 1 << 20
MAX_FIELDS = 64 << 10
MAX_PARTIALS = 64
MAX_ERROR_TEXT = 1024
MAX_CAUSE = 128
MAX_QUOTE = 128
MAX_BATCH = 64 << 10

_FAILED = b"exception during handler"


class Options:
    """The settings of a connection; both faces take them as keyword arguments."""

    def __init__(
        self,
        *,
        channels: Optional[Dict[int, Callable[..., Any]]] = None,  # handlers of channels other than 0
        stream_handler: Optional[Callable[..., Any]] = None,  # takes each stream that the peer opens
        accept_streams: bool = False,  # the peer's streams wait for accept_stream()
        extensions: str = "lazy",  # lazy (at the first need), off, offer (at the start), required
        cookie: bytes = b"",  # by which the peer may recognise this end
        max_payload: int = 16 << 20,
        max_handlers: int = 0,  # at work at a time; 0 is 64 for threads and 1024 for tasks
        max_streams: int = 256,  # that the peer may have open
        stream_backlog: int = 256,  # of those that are not accepted
        stream_window: int = 256 << 10,  # bytes that a stream's sender may be ahead of its reader, at first
        max_stream_window: int = 4 << 20,  # and in the end, where that makes it faster
        stream_memory: int = 64 << 20,  # bytes of all windows beyond those that streams begin with
        drain_timeout: float = 5.0,  # for handlers at work, when the connection ends
        close_timeout: float = 2.0,  # for the peer, when the connection ends
        on_handler_error: Optional[Callable[[Request, BaseException], None]] = None,  # instead of a log record
    ) -> None:
        if extensions not in ("lazy", "off", "offer", "required"):
            raise ValueError("extensions %r are none of lazy, off, offer, required" % (extensions,))
        if not 0 < max_payload <= HARD_PAYLOAD:
            raise ValueError("max_payload %d is not within 1 and %d" % (max_payload, HARD_PAYLOAD))
        if EXTENSIONS in (channels or ()):
            raise ValueError("channel %d is reserved" % EXTENSIONS)
        self.channels = dict(channels or {})
        self.stream_handler, self.accept_streams = stream_handler, accept_streams
        self.extensions, self.cookie, self.max_payload = extensions, cookie, max_payload
        self.max_handlers, self.max_streams, self.stream_backlog = max_handlers, max_streams, stream_backlog
        self.stream_window, self.max_stream_window = stream_window, max(stream_window, max_stream_window)
        self.stream_memory = stream_memory
        self.drain_timeout, self.close_timeout = drain_timeout, close_timeout
        self.on_handler_error = on_handler_error


class Core:
    """The protocol without I/O, clocks, threads and callbacks.

    What comes is given to receive() and receive_eof(); what is to be written is taken from output(). events collects
    what has happened, as pairs of a word and an object, for the face to take out:

    call, ping      the Call or Ping is done, or a waiting Call is now queued
    request         a Request is to be handled, and respond() or fail_request() called for it
    cancelled       a Request's handler should stop
    stream          something about the CoreStream has changed
    opened          a CoreStream of the peer's is in the backlog
    room            the peer may take another stream
    settled         it is known whether the peer has extensions
    ended           error is set, nothing more is received
    """

    def __init__(self, handlers: Any, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        self.handlers = handlers  # of channels, any container
        self.options, self.clock = options, clock
        self.events: List[Tuple[str, Any]] = []
        self.error: Optional[BaseException] = None  # how the connection ended
        self.dropped: Dict[str, int] = {}  # what was dropped, counted
        # Receiving.
        self.received = 0
        self.recv_ended = False
        self._rest = b""  # of an incomplete header
        self._chunks: List[bytes] = []  # of an incomplete payload
        self._need = 0  # what is missing of it
        self._skip = 0
        self._head: Any = None
        self._take: Any = None
        self._first = True
        self._extra: Optional[Tuple[int, bool, Headers]] = None
        self._partials: Dict[Tuple[int, bool], _Partial] = {}
        self._partial_bytes = 0
        self._erq = False
        # Requests of the peer.
        self.incoming: Dict[Tuple[int, int], Request] = {}
        self._incoming_bytes = 0
        self._answers: Dict[Tuple[int, int], _Answer] = {}  # that have not left
        self._refused = 0
        # Our requests.
        self.outgoing: Dict[int, Call] = {}
        self._waiting: "deque[Call]" = deque()
        self._outgoing_bytes = 0
        self._next_tag = 2
        self._max_calls, self._max_call_bytes = MAX_OUTSTANDING, MAX_OUTSTANDING_BYTES
        self._max_peer_payload = options.max_payload
        # Sending.
        self._control: List[bytes] = []
        self._control_bytes = 0
        self._queue: "deque[Any]" = deque()
        self._turns: "deque[Any]" = deque()
        self._stream_control: List[CoreStream] = []
        self._bulk_count = self._bulk_bytes = 0
        # The end.
        self.draining = self.going_away = False
        self.force_eof = self.eof_sent = False  # EOF is next, EOF was taken for writing
        # Extensions.
        self.extended: Optional[bool] = None  # None is not known yet
        self.offered = False
        self._answered = False
        self._hello_tag = 0
        self._pings: Dict[int, Ping] = {}
        self.gone_away: Optional[GoingAwayError] = None
        self._peer_features = 0
        self._max_peer_headers = MAX_FIELDS
        self.streams: Dict[Tuple[bool, int], CoreStream] = {}
        self._last = {True: 0, False: 0}  # numbers of streams, by ours
        self._open = {True: 0, False: 0}
        self.backlog: Dict[int, CoreStream] = {}  # the peer's streams that nobody has accepted
        self._max_peer_streams = self._peer_credit = 0
        self._window_memory = 0
        if options.extensions == "off":
            self.extended = False
        elif options.extensions in ("offer", "required"):
            self._offer()

    # Receiving.

    def receive(self, data: bytes) -> None:
        """Take bytes of the peer. What is not of the protocol ends the connection: error is set."""
        if self.recv_ended:
            return
        begin = self.received - len(self._rest)
        self.received += len(data)
        try:
            if self._need:
                if len(data) < self._need:
                    self._chunks.append(data)
                    self._need -= len(data)
                    return
                need, self._need = self._need, 0
                self._chunks.append(data[:need])
                payload, self._chunks = b"".join(self._chunks), []
                self._take(self._head, payload)
                data = data[need:]
                begin += need
            elif self._rest:
                data = self._rest + data
                self._rest = b""
            self._parse(data, begin)
        except ProtocolError as error:
            if not error.offset:
                error.offset = begin
            self.fail(error)
        except EndedError as error:
            self.fail(error)

    def _parse(self, data: bytes, begin: int) -> None:
        pos, end = 0, len(data)
        while pos < end and not self.recv_ended:
            if self._skip:
                step = min(self._skip, end - pos)
                self._skip -= step
                pos += step
                continue
            try:
                head = _parse_header(data, pos, end)
            except _Incomplete:
                self._rest = data[pos:]
                return
            except ProtocolError as error:
                error.quote, error.offset = data[pos : pos + MAX_QUOTE], begin + pos
                raise
            at, size, start = pos, head[5], head[6]
            try:
                take = self._admit_request(head) if head[0] else self._admit_response(head)
                self._first = False
                if take is None:
                    self._skip = size
                    pos = start
                elif end - start < size:
                    self._chunks, self._need = [data[start:]], size - (end - start)
                    self._head, self._take = head, take
                    return
                else:
                    pos = start + size
                    take(head, data[start:pos])
            except ProtocolError as error:
                if not error.quote:
                    error.quote, error.offset = data[at : at + MAX_QUOTE], begin + at
                raise

    def receive_eof(self) -> None:
        """Take the end of the peer's stream."""
        if self.recv_ended:
            return
        if self._rest or self._need or self._skip:
            quote = self._rest or b"".join(self._chunks)[:MAX_QUOTE]
            self.fail(ProtocolError("the stream ends inside a packet", quote[:MAX_QUOTE], self.received))
        else:
            self._peer_ended()

    def _peer_ended(self) -> None:
        self._end(ClosedError("the connection is closed") if self.draining
                  else PeerClosedError("the connection was closed by the peer"))

    def fail(self, error: BaseException) -> None:
        """End the connection for everybody. Handlers at work should stop; what they answer is sent still."""
        if not self.recv_ended:
            self._end(error)
            self.cancel_requests(error)

    def _end(self, error: BaseException) -> None:
        self.recv_ended = True
        self.error = error
        self._rest, self._chunks, self._need = b"", [], 0
        self._partials.clear()
        self.fail_calls(error)
        self._pings, pings = {}, self._pings
        for ping in pings.values():
            ping.error = error
            self.events.append(("ping", ping))
        for stream in list(self.streams.values()):
            self._fail_stream(stream, error)
        self.streams.clear()
        self._open = {True: 0, False: 0}
        if self.extended is None:
            self._settle(False)
        self.events.append(("room", None))
        self.events.append(("ended", None))

    def fail_calls(self, error: BaseException) -> None:
        """Fail all our calls, and tell the peer if it can be told."""
        calls = list(self.outgoing.values())
        waiting, self._waiting = self._waiting, deque()
        for call in calls:
            if call.state == Call.SENT and self.extended and not self.recv_ended:
                self._send_cancel(call, CANCELLED, 0, "")
            self._complete(call, None, error)
        for call in waiting:
            self._complete(call, None, error)

    def cancel_requests(self, error: BaseException) -> None:
        """Tell all handlers at work to stop."""
        for request in self.incoming.values():
            if request.cause is None:
                request.cause = error
                self.events.append(("cancelled", request))

    def _count(self, what: str) -> None:
        self.dropped[what] = self.dropped.get(what, 0) + 1

    # Requests of the peer.

    def _admit_request(self, head: Any) -> Any:
        """Decide at a request's header what becomes of it: return who takes its payload, None to skip that."""
        _, channel, tag, flags, kind, size, _ = head
        if kind == 0:
            if channel == flags == size == 0 and tag == 0:
                self._peer_ended()
            elif channel == flags == size == 0 and tag == 1:
                self._erq = True
            else:
                raise ProtocolError("a request of type 0 on the wire, channel %d, tag %d" % (channel, tag))
            return None
        if channel == EXTENSIONS and self.options.extensions != "off":
            return self._admit_frame(head)
        extra, partial = self._take_extra(tag, False), None
        if self._partials:
            partial = self._take_partial(tag, False, size)
            if partial is not None:
                extra = partial.headers
        if self.eof_sent:
            self._count("request after EOF")
            return None
        total = size if partial is None else partial.total
        text, reason = self._refusal(channel, total, extra)
        if text:
            self._reject(channel, tag, text, reason)
            return None
        old = self.incoming.get((channel, tag))
        if old is not None:
            if old._repeated:
                raise ProtocolError("tag %d is used a third time on channel %d" % (tag, channel))
            old._repeated = True
            self._count("request with a tag in use")
            return None
        counts = total + (extra.size if extra else 0)
        if len(self.incoming) + len(self._answers) >= MAX_OUTSTANDING:
            self._reject(channel, tag, "too many requests: the limit is %d unanswered ones" % MAX_OUTSTANDING)
            return None
        if self._incoming_bytes and self._incoming_bytes + counts > MAX_OUTSTANDING_BYTES:
            self._reject(channel, tag,
                         "requests too large: the limit is %d bytes of unanswered ones" % MAX_OUTSTANDING_BYTES)
            return None
        self._refused = 0
        if extra is None and partial is None:
            return self._accept
        return lambda head, payload: self._accept(head, payload, extra, partial)

    def _refusal(self, channel: int, size: int, extra: Optional[Headers]) -> Tuple[str, int]:
        """Why a request is rejected, in the order of section 5, or ""."""
        known = channel in self.handlers
        if not known and (channel == 0 or 0 not in self.handlers):
            return "no request handler", REFUSED
        if self._erq:
            return "requests no longer allowed", REFUSED
        if self.draining and not self.outgoing:
            return "rejecting request: connection is shutting down", GOING_AWAY
        if self.going_away and not self.outgoing:
            return "rejecting request: going away", GOING_AWAY
        if not known:
            return "unknown channel %d" % channel, REFUSED
        if size > self.options.max_payload:
            return str(LimitError("request payload, bytes", size, self.options.max_payload)), REFUSED
        if extra is not None and extra.too_large:
            return str(LimitError("request metadata, bytes", extra.too_large, MAX_FIELDS)), REFUSED
        return "", 0

    def _accept(self, head: Any, payload: bytes, extra: Optional[Headers] = None,
                partial: Optional[_Partial] = None) -> None:
        _, channel, tag, flags, kind, _, _ = head
        if partial is not None:
            partial.chunks.append(payload)
            payload = b"".join(partial.chunks)
        request = Request(channel, tag, kind - 1, flags, payload, self.clock)
        if extra is not None:
            request.metadata = extra.metadata
            request._size += extra.size
            if extra.timeout:
                request.deadline = self.clock() + extra.timeout / 1e6
        self.incoming[channel, tag] = request
        self._incoming_bytes += request._size
        self.events.append(("request", request))

    def _reject(self, channel: int, tag: int, text: str, reason: int = REFUSED) -> None:
        self._refused += 1
        if len(self.incoming) + self._refused > HARD_REQUESTS:
            raise LimitError("unanswered and refused requests", len(self.incoming) + self._refused, HARD_REQUESTS)
        payload = text.encode()
        data = _header(False, channel, tag, 0, 0, len(payload)) + payload
        if self.extended and channel != EXTENSIONS:
            data = _frame(HEADERS, tag, 1, Headers(reason=reason).encode()) + data
        self._bounded_control(data)

    def _bounded_control(self, data: bytes) -> None:
        if self._control_bytes + len(data) > MAX_CONTROL:
            raise LimitError("answers that wait to be sent, bytes", self._control_bytes + len(data), MAX_CONTROL)
        self._send_control(data)

    def _send_control(self, data: bytes) -> None:
        if self.eof_sent:
            return
        self._control.append(data)
        self._control_bytes += len(data)

    def respond(self, request: Request, result: Any) -> None:
        """Answer a request with its handler's result."""
        try:
            flags, payload, metadata = _answer(result)
        except Exception:
            self._answer_failed(request, _FAILED)
            raise
        if not 0 <= flags <= MAX_FLAGS >> 1:
            self._answer_failed(request, b"flags %d do not fit into 61 bits" % flags)
            return
        most = min(self.options.max_payload, self._max_peer_payload)
        if len(payload) > most:
            self._answer_failed(request, str(LimitError("response payload, bytes", len(payload), most)).encode())
            return
        headers = b""
        if metadata and self.extended:
            extra = Headers(metadata=metadata)
            if extra.size > self._max_peer_headers:
                error = LimitError("reply metadata, bytes", extra.size, self._max_peer_headers)
                self._answer_failed(request, str(error).encode())
                return
            headers = extra.encode()
        self._send_answer(_Answer(request, flags << 1 | 1, payload, headers))

    def fail_request(self, request: Request, error: BaseException) -> None:
        """Answer a request whose handler has raised error."""
        if isinstance(error, HandlerError):
            extra = Headers(code=error.code, details=error.details)
            if extra.size > self._max_peer_headers:
                extra = Headers(code=error.code)
            self._answer_failed(request, _clip(error.text, MAX_ERROR_TEXT), extra)
        elif request.deadline is not None and self.clock() >= request.deadline:
            self._answer_failed(request, _FAILED, Headers(reason=DEADLINE))
        else:
            self._answer_failed(request, _FAILED)

    def _answer_failed(self, request: Request, payload: bytes, extra: Optional[Headers] = None) -> None:
        headers = extra.encode() if extra is not None and self.extended else b""
        self._send_answer(_Answer(request, 0, payload, headers))

    def _send_answer(self, answer: _Answer) -> None:
        request = answer.request
        if self.incoming.pop((request.channel, request.tag), None) is None:
            return
        if request._abandoned or self.eof_sent or self.force_eof:
            self._incoming_bytes -= request._size
            return
        self._answers[request.channel, request.tag] = answer
        self._enqueue(answer, request.tag, answer.payload)

    def _enqueue(self, item: Any, tag: int, payload: bytes) -> None:
        if len(payload) > MAX_PIECE and self.extended and self._peer_features & FEATURE_PIECES:
            self._turns.append(_Bulk(item, tag, payload))
        else:
            self._queue.append(item)

    # Our requests.

    def call(self, channel: int, kind: int, flags: int, payload: bytes, metadata: Any = (),
             deadline: Optional[float] = None, in_handler: bool = False) -> Call:
        """Make a request. The Call waits while the peer takes no more; it is done when its event says so."""
        self.may_call(in_handler)
        if channel == EXTENSIONS or channel < 0 or channel > MAX_NUMBER:
            raise ValueError("channel %d cannot be used" % channel)
        if not 0 <= kind < MAX_NUMBER:
            raise ValueError("request type %d is not within 0 and 2**64-2" % kind)
        if not 0 <= flags <= MAX_FLAGS:
            raise ValueError("flags %d do not fit into 62 bits" % flags)
        most = min(self.options.max_payload, self._max_peer_payload)
        if len(payload) > most:
            raise LimitError("request payload, bytes", len(payload), most)
        if metadata:
            metadata = _pairs(metadata)
            if not self.extended:
                raise NoExtensionsError("metadata needs a peer with extensions")
            if _pairs_size(metadata) > self._max_peer_headers:
                raise LimitError("request metadata, bytes", _pairs_size(metadata), self._max_peer_headers)
        call = Call(channel, kind, flags, payload, metadata, deadline)
        if self._waiting or not self._has_room(call):
            self._waiting.append(call)
        else:
            self._queue_call(call)
        return call

    def may_call(self, in_handler: bool = False) -> None:
        """Raise why no call can be made, if none can."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self.eof_sent or (self.draining and not in_handler):
            raise ClosedError("the connection is shutting down")
        if self.gone_away is not None and not in_handler:
            raise GoingAwayError(self.gone_away.code, self.gone_away.text)

    def _has_room(self, call: Call) -> bool:
        if len(self.outgoing) >= self._max_calls:
            return False
        return not self._outgoing_bytes or self._outgoing_bytes + call.size <= self._max_call_bytes

    def _queue_call(self, call: Call) -> None:
        call.tag = self._tag()
        call.state = Call.QUEUED
        self.outgoing[call.tag] = call
        self._outgoing_bytes += call.size
        self._enqueue(call, call.tag, call.payload)

    def _tag(self) -> int:
        tag = self._next_tag
        self._next_tag += 1
        return tag

    def cancel(self, call: Call, error: BaseException, reason: int = CANCELLED, code: int = 0,
               text: str = "") -> bool:
        """Give a call up, with error. Return False if it is done already."""
        if call.state == Call.DONE:
            return False
        if call.state == Call.WAITING:
            self._waiting.remove(call)
        elif call.state == Call.SENT and self.extended:
            self._send_cancel(call, reason, code, text)
        self._complete(call, None, error)
        return True

    def _send_cancel(self, call: Call, reason: int, code: int, text: str) -> None:
        clipped = _clip(text, MAX_CAUSE)
        payload = _number_field(1, call.channel) + _number_field(2, reason) + _number_field(3, code)
        if clipped:
            payload += _field(4, clipped)
        self._send_control(_frame(CANCEL, call.tag, 0, payload))

    def _complete(self, call: Call, response: Optional[Response], error: Optional[BaseException]) -> None:
        call.state = Call.DONE
        call.response, call.error = response, error
        self.events.append(("call", call))
        if self.outgoing.pop(call.tag, None) is None:
            return
        self._outgoing_bytes -= call.size
        if self._partials and (call.tag, True) in self._partials:
            self._drop_partial((call.tag, True))
        while self._waiting and self._has_room(self._waiting[0]):
            waiting = self._waiting.popleft()
            self._queue_call(waiting)
            self.events.append(("call", waiting))

    def _admit_response(self, head: Any) -> Any:
        _, channel, tag, flags, _, size, _ = head
        if self._first and tag not in self.outgoing and tag != self._hello_tag:
            raise ProtocolError("the first packet is a response to nothing: this is no packet stream")
        if channel == EXTENSIONS:
            if self._hello_tag and tag == self._hello_tag:
                self._hello_tag = 0
                if size > MAX_FIELDS or not flags & 1:
                    self._hello_rejected()
                    return None
                return self._hello_answered
            ping = self._pings.pop(tag, None)
            if ping is not None:
                ping.trip = self.clock() - ping.sent
                self.events.append(("ping", ping))
            else:
                self._count("response to nothing")
            return None
        extra = self._take_extra(tag, True)
        partial = self._take_partial(tag, True, size) if self._partials else None
        if partial is not None:
            extra = partial.headers
        call = self.outgoing.get(tag)
        if call is None or call.channel != channel:
            self._count("late response" if tag < self._next_tag else "response to nothing")
            return None
        total = size if partial is None else partial.total
        if total > self.options.max_payload:
            self._complete(call, None, LimitError("response payload, bytes", total, self.options.max_payload))
            return None
        if extra is not None and extra.too_large:
            self._complete(call, None, LimitError("response metadata, bytes", extra.too_large, MAX_FIELDS))
            return None
        return lambda head, payload: self._answered_call(call, flags, payload, extra, partial)

    def _answered_call(self, call: Call, flags: int, payload: bytes, extra: Optional[Headers],
                       partial: Optional[_Partial]) -> None:
        if call.state == Call.DONE:  # it was given up while the payload came
            return
        if partial is not None:
            partial.chunks.append(payload)
            payload = b"".join(partial.chunks)
        if flags & 1:
            self._complete(call, Response(flags >> 1, payload, extra.metadata if extra else []), None)
        else:
            error = RemoteTimeout if extra is not None and extra.reason == DEADLINE else RemoteError
            self._complete(call, None, error(flags >> 1, payload, extra))

    # Sending.

    def has_output(self) -> bool:
        """Whether output() may have something."""
        return not self.eof_sent and bool(self._control or self._queue or self._turns or self._stream_control or self._eof_due())

    def output(self, most: int = MAX_BATCH) -> bytes:
        """Take the next bytes to write, about most of them, or b"". When eof_sent is set they were the last."""
        if self.eof_sent:
            return b""
        out, self._control, self._control_bytes = self._control, [], 0
        if self._stream_control:
            self._emit_stream_control(out)
        size = 0
        q = self._queue
        while q and size < most:
            item = q.popleft()
            if type(item) is Call:
                if item.state == Call.DONE:
                    continue
            elif item.request._abandoned:
                self._left(item)
                continue
            self._append_headers(item, out)
            payload = item.payload
            out.append(self._head_of(item, len(payload)))
            out.append(payload)
            size += len(payload) + 8
            self._left(item)
        size = 0  # streams and large payloads have a share of their own
        turns, idle = self._turns, 0
        while turns and size < most and idle < len(turns):
            turn = turns.popleft()
            if type(turn) is _Bulk:
                if turn.given_up():
                    self._left(turn.item)
                    if turn.at:
                        self._end_bulk(turn)
                    continue
                if not turn.at and not self._may_begin(turn):
                    turns.append(turn)
                    idle += 1
                    continue
            idle = 0
            size += turn.emit(self, out)
            if turn.more():
                turns.append(turn)
            elif type(turn) is CoreStream:
                turn.in_turns = False
        if not out and self._eof_due():
            self.eof_sent = True
            return EOF_PACKET
        return b"".join(out)

    def _eof_due(self) -> bool:
        if self.eof_sent or not (self.draining or self.recv_ended):
            return False
        if self.force_eof:
            return True
        return not (self.incoming or self.outgoing or self._waiting or self.streams or self._queue or self._turns)

    def _head_of(self, item: Any, size: int) -> bytes:
        if type(item) is Call:
            return _header(True, item.channel, item.tag, item.flags, item.type + 1, size)
        return _header(False, item.request.channel, item.request.tag, item.flags, 0, size)

    def _append_headers(self, item: Any, out: List[bytes]) -> None:
        """Append the HEADERS of a request or response, if it has any."""
        if type(item) is not Call:
            if item.headers and self.extended:
                out.append(_frame(HEADERS, item.request.tag, 1, item.headers))
        elif self.extended and (item.metadata or item.deadline is not None):
            timeout = 0
            if item.deadline is not None:
                timeout = min(max(int((item.deadline - self.clock()) * 1e6), 1), 1 << 53)
            out.append(_frame(HEADERS, item.tag, 0, Headers(timeout, item.metadata).encode()))

    def _left(self, item: Any) -> None:
        """A request or response has left, or will not."""
        if type(item) is Call:
            if item.state == Call.QUEUED:
                item.state = Call.SENT
        else:
            self._answers.pop((item.request.channel, item.request.tag), None)
            self._incoming_bytes -= item.request._size

    def _may_begin(self, bulk: _Bulk) -> bool:
        if self._bulk_count >= MAX_PARTIALS:
            return False
        return not self._bulk_bytes or self._bulk_bytes + len(bulk.payload) <= MAX_OUTSTANDING_BYTES

    def _begin_bulk(self, bulk: _Bulk, out: List[bytes]) -> None:
        self._bulk_count += 1
        self._bulk_bytes += len(bulk.payload)
        self._append_headers(bulk.item, out)
        if not bulk.answer:
            bulk.item.state = Call.SENT

    def _end_bulk(self, bulk: _Bulk) -> None:
        self._bulk_count -= 1
        self._bulk_bytes -= len(bulk.payload)

    # The end.

    def shutdown(self) -> None:
        """Make no more requests. EOF follows when nothing is outstanding either way, or force_eof is set."""
        self.draining = True

    def close(self, error: BaseException) -> None:
        """Take no more requests, and end our calls and all streams at once with the error."""
        self.shutdown()
        self.fail_calls(error)
        for stream in list(self.streams.values()):
            self.reset_stream(stream, 0, str(error))
            stream.read_error = stream.write_error = error
            self.events.append(("stream", stream))

    def force(self) -> None:
        """Send EOF next, whatever is outstanding."""
        self.force_eof = True
        self._queue.clear()
        self._turns.clear()

    def is_idle(self) -> bool:
        """Whether nothing is outstanding either way."""
        return not (self.incoming or self.outgoing or self._waiting or self.streams)

    # Extensions.

    def need_extensions(self) -> bool:
        """Find out whether the peer has extensions. Return True if it has, False if that is to be waited for."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self.extended:
            return True
        if self.extended is False:
            raise NoExtensionsError("the peer has no extensions" if self.options.extensions != "off"
                                    else "extensions are off")
        if self.eof_sent:
            raise ClosedError("the connection is shutting down")
        self._offer()
        return False

    def _offer(self) -> None:
        if not self.offered:
            self.offered = True
            self._hello_tag = self._tag()
            self._send_control(_frame(HELLO, self._hello_tag, 0, self._our_hello()))

    def _our_hello(self) -> bytes:
        o = self.options
        numbers = {1: 1, 2: FEATURE_STREAMS | FEATURE_PIECES, 4: o.max_payload, 5: MAX_OUTSTANDING,
                   6: MAX_OUTSTANDING_BYTES, 7: MAX_FIELDS, 8: o.max_streams, 9: o.stream_backlog,
                   10: o.stream_window}
        return b"".join(_number_field(key, n) for key, n in numbers.items()) + (
            _field(3, o.cookie) if o.cookie else b"")

    def _settle(self, extended: bool) -> None:
        self.extended = extended
        self.events.append(("settled", None))

    def _extend(self, hello: Dict[int, Any]) -> None:
        if self.extended:
            return
        self._peer_features = hello.get(2, 0)
        self._max_peer_payload = min(self._max_peer_payload, hello.get(4, 16 << 20))
        self._max_calls = min(self._max_calls, hello.get(5, MAX_OUTSTANDING))
        self._max_call_bytes = min(self._max_call_bytes, hello.get(6, MAX_OUTSTANDING_BYTES))
        self._max_peer_headers = min(MAX_FIELDS, hello.get(7, MAX_FIELDS))
        self._max_peer_streams, self._peer_credit = hello.get(8, 0), hello.get(10, 0)
        self._settle(True)

    def _read_hello(self, payload: bytes) -> Optional[Dict[int, Any]]:
        try:
            hello = _take_fields(payload, _HELLO_FIELDS)
        except ProtocolError:
            return None
        return hello if hello.get(1) else None

    def _hello(self, head: Any, payload: bytes) -> None:
        hello = self._read_hello(payload)
        if hello is None:
            self._reject(EXTENSIONS, head[2], "unknown channel %d" % EXTENSIONS)
            return
        self._answered = True
        payload = self._our_hello()
        self._bounded_control(_header(False, EXTENSIONS, head[2], 1, 0, len(payload)) + payload)
        self._extend(hello)

    def _hello_answered(self, head: Any, payload: bytes) -> None:
        hello = self._read_hello(payload)
        if hello is None:
            self._hello_rejected()
        else:
            self._extend(hello)

    def _hello_rejected(self) -> None:
        if self.extended is None:
            self._settle(False)
            if self.options.extensions == "required":
                self.fail(NoExtensionsError("the peer has no extensions"))

    def _admit_frame(self, head: Any) -> Any:
        _, _, tag, flags, kind, size, _ = head
        kind -= 1
        if kind == HELLO:
            if self._answered:
                raise ProtocolError("a second HELLO")
            if size > MAX_FIELDS:
                self._reject(EXTENSIONS, tag, "unknown channel %d" % EXTENSIONS)
                return None
            return self._hello
        if not self.extended:
            self._reject(EXTENSIONS, tag, "unknown channel %d" % EXTENSIONS)
            return None
        if kind == PING:
            self._bounded_control(_header(False, EXTENSIONS, tag, 1, 0, 0))
            return None
        if kind == HEADERS:
            self._drop_extra()
            if size > MAX_FIELDS:
                extra = Headers()
                extra.too_large = size
                self._extra = tag, bool(flags & 1), extra
                return None
            return self._take_headers
        if kind == PIECE:
            return self._admit_piece(tag, flags, size)
        if kind > CREDIT:
            self._count("frame of an unknown kind")
            return None
        if kind in (DATA, END, CREDIT):
            return self._admit_stream_frame(kind, tag, flags, size)
        if size > MAX_FIELDS:
            raise LimitError("%s frame, bytes" % FRAME_NAMES[kind], size, MAX_FIELDS)
        return self._take_fields_frame

    def _take_fields_frame(self, head: Any, payload: bytes) -> None:
        _, _, tag, flags, kind, _, _ = head
        kind -= 1
        try:
            if kind == CANCEL:
                self._cancelled(tag, _take_fields(payload, _CANCEL_FIELDS))
            elif kind == GOAWAY:
                f = _take_fields(payload, _GOAWAY_FIELDS)
                if self.gone_away is None:
                    self.gone_away = GoingAwayError(f.get(1, 0), f.get(2, ""))
                    waiting, self._waiting = self._waiting, deque()
                    for call in waiting:
                        self._complete(call, None, self.gone_away)
                    self.events.append(("room", None))
            elif kind == OPEN:
                self._open_received(tag, flags, _take_fields(payload, _OPEN_FIELDS))
            else:
                self._stop_or_reset(kind, tag, flags, _take_fields(payload, _RESET_FIELDS))
        except ProtocolError as error:
            if not error.reason.startswith(FRAME_NAMES[kind]):
                error.reason = "%s frame: %s" % (FRAME_NAMES[kind], error.reason)
            error.quote = error.quote or payload[:MAX_QUOTE]
            raise

    def _take_headers(self, head: Any, payload: bytes) -> None:
        try:
            extra = Headers.parse(payload)
        except ProtocolError as error:
            error.reason, error.quote = "HEADERS frame: " + error.reason, payload[:MAX_QUOTE]
            raise
        if extra.size > MAX_FIELDS:
            size, extra = extra.size, Headers()
            extra.too_large = size
        self._extra = head[2], bool(head[3] & 1), extra

    def _take_extra(self, tag: int, response: bool) -> Optional[Headers]:
        if self._extra is None:
            return None
        of_tag, of_response, extra = self._extra
        self._extra = None
        if of_tag != tag or of_response != response:
            self._count("HEADERS of nothing")
            return None
        return extra

    def _drop_extra(self) -> None:
        if self._extra is not None:
            self._extra = None
            self._count("HEADERS of nothing")

    def _admit_piece(self, tag: int, flags: int, size: int) -> Any:
        response, total = bool(flags & 1), flags >> 1
        key = tag, response
        extra = self._take_extra(tag, response)
        partial = self._partials.get(key)
        if partial is None:
            if response and tag not in self.outgoing:
                self._count("late piece")
                return None
            if len(self._partials) >= MAX_PARTIALS:
                raise LimitError("payloads in pieces", len(self._partials) + 1, MAX_PARTIALS)
            partial = _Partial(total, extra, total > self.options.max_payload)
            if not partial.dropped:
                if self._partial_bytes and self._partial_bytes + total > MAX_OUTSTANDING_BYTES:
                    raise LimitError("payloads in pieces, bytes", self._partial_bytes + total, MAX_OUTSTANDING_BYTES)
                self._partial_bytes += total
            self._partials[key] = partial
        if not size or total != partial.total or partial.got + size > total:
            raise ProtocolError("PIECE of %d bytes behind %d of %d, of a payload of %d"
                                % (size, partial.got, partial.total, total))
        partial.got += size
        if partial.dropped:
            return None
        return lambda head, payload: partial.chunks.append(payload)

    def _take_partial(self, tag: int, response: bool, size: int) -> Optional[_Partial]:
        partial = self._partials.get((tag, response))
        if partial is not None:
            if partial.got + size != partial.total:
                raise ProtocolError("a payload of %d bytes in pieces ends after %d"
                                    % (partial.total, partial.got + size))
            self._drop_partial((tag, response))
        return partial

    def _drop_partial(self, key: Tuple[int, bool]) -> None:
        partial = self._partials.pop(key)
        if not partial.dropped:
            self._partial_bytes -= partial.total

    def _cancelled(self, tag: int, f: Dict[int, Any]) -> None:
        request = self.incoming.get((f.get(1, 0), tag))
        if request is None or request._abandoned:
            if request is None and (tag, False) in self._partials:
                self._drop_partial((tag, False))
            elif not self._abandon_answer(f.get(1, 0), tag):
                self._count("CANCEL of nothing")
            return
        request._abandoned = True
        if request.cause is None:
            request.cause = CallCancelled(f.get(4, ""), f.get(3, 0), f.get(2, 0) == DEADLINE)
        self.events.append(("cancelled", request))

    def _abandon_answer(self, channel: int, tag: int) -> bool:
        """Give up an answer that has not left, or not as a whole."""
        answer = self._answers.get((channel, tag))
        if answer is not None:
            answer.request._abandoned = True
        return answer is not None

    def ping(self) -> Ping:
        """Send a PING. The peer has extensions."""
        self.may_call(True)
        ping = Ping(self.clock())
        tag = self._tag()
        self._pings[tag] = ping
        self._send_control(_frame(PING, tag))
        return ping

    def forget_ping(self, ping: Ping) -> None:
        """Wait for it no longer."""
        for tag, other in self._pings.items():
            if other is ping:
                del self._pings[tag]
                return

    def go_away(self, code: int, text: str) -> None:
        """Take no more requests and streams, and say so if the peer has extensions."""
        self.going_away = True
        if self.extended and not self.eof_sent:
            clipped = _clip(text, MAX_CAUSE)
            payload = _number_field(1, code) + (_field(2, clipped) if clipped else b"")
            self._send_control(_frame(GOAWAY, 0, 0, payload))

    # Streams.

    def open_stream(self, name: str, metadata: Any = (), in_handler: bool = False) -> Optional[CoreStream]:
        """Open a stream, or return None if the peer takes no more for now. The peer has extensions."""
        self.may_call(in_handler)
        if not self._peer_features & FEATURE_STREAMS:
            raise NoExtensionsError("the peer takes no streams")
        octets, metadata = _octets(name), _pairs(metadata)
        if len(octets) > MAX_STREAM_NAME:
            raise LimitError("stream name, bytes", len(octets), MAX_STREAM_NAME)
        if _pairs_size(metadata) > MAX_FIELDS - 2048:
            raise LimitError("stream metadata, bytes", _pairs_size(metadata), MAX_FIELDS - 2048)
        if self._open[True] >= self._max_peer_streams:
            return None
        self._last[True] += 1
        stream = CoreStream(self._last[True], True, name, metadata, self.options.stream_window, self._peer_credit)
        stream.accepted = True
        self._add_stream(stream)
        payload = (_field(1, octets) if octets else b"") + _pair_fields(2, metadata)
        self._send_control(_frame(OPEN, stream.number, 0, payload + _number_field(3, stream.window)))
        return stream

    def _add_stream(self, stream: CoreStream) -> None:
        self.streams[stream.ours, stream.number] = stream
        self._open[stream.ours] += 1

    def _open_received(self, tag: int, flags: int, f: Dict[int, Any]) -> None:
        if flags & 1 or tag != self._last[False] + 1:
            raise ProtocolError("OPEN of stream %d, after %d of the peer" % (tag, self._last[False]))
        if self._open[False] >= self.options.max_streams:
            raise LimitError("streams opened by the peer", self._open[False] + 1, self.options.max_streams)
        name, credit = f.get(1, ""), f.get(3, 0)
        if len(_octets(name)) > MAX_STREAM_NAME:
            raise LimitError("stream name, bytes", len(_octets(name)), MAX_STREAM_NAME)
        if credit > MAX_CREDIT:
            raise ProtocolError("OPEN of stream %d with a credit of %d" % (tag, credit))
        self._last[False] = tag
        stream = CoreStream(tag, False, name, f.get(2, []), self.options.stream_window, credit)
        self._add_stream(stream)
        refusal = self._stream_refusal()
        if refusal is not None:
            stream.accepted = True
            self.reset_stream(stream, 0, refusal[1], refusal[0])
            return
        self.backlog[tag] = stream
        self.events.append(("opened", stream))

    def _stream_refusal(self) -> Optional[Tuple[int, str]]:
        if self.draining or self.going_away:
            return GOING_AWAY, "going away"
        if self.options.stream_handler is None and not self.options.accept_streams:
            return REFUSED, "nobody takes streams"
        if len(self.backlog) >= self.options.stream_backlog:
            return REFUSED, "too many streams wait to be accepted"
        return None

    def accept_stream(self) -> Optional[CoreStream]:
        """Take the first stream that waits to be accepted; who takes it has to end it."""
        for number, stream in self.backlog.items():
            del self.backlog[number]
            stream.accepted = True
            return stream
        return None

    def _admit_stream_frame(self, kind: int, tag: int, flags: int, size: int) -> Any:
        """DATA, END and CREDIT."""
        name = FRAME_NAMES[kind]
        ours = bool(flags & 1)
        what = "%s of %d bytes for stream %d of %s" % (name, size, tag, "this end" if ours else "the peer")
        if kind != DATA and size:
            raise ProtocolError("%s, which has no payload" % what)
        if kind == DATA and not size:
            raise ProtocolError(what)
        stream = self._find_stream(ours, tag, what)
        if kind == CREDIT:
            if stream is not None and stream.send != CoreStream.ENDED:
                self._credited(stream, flags >> 1, what)
            else:
                self._count("late frame")
            return None
        if stream is None or stream.recv == CoreStream.ENDED:
            raise ProtocolError("%s, which its sender had ended" % what)
        if kind == END:
            stream.recv = CoreStream.ENDED
            self._retire(stream)
            self.events.append(("stream", stream))
            return None
        if size > stream.left:
            raise ProtocolError("%s, which may send %d of its window of %d" % (what, stream.left, stream.window))
        stream.left -= size
        stream.limited = stream.limited or not stream.left
        if stream.recv != CoreStream.OPEN:
            return None
        return lambda head, payload: self._data(stream, payload)

    def _find_stream(self, ours: bool, tag: int, what: str) -> Optional[CoreStream]:
        """The stream of a frame, or None if it is over."""
        if not 0 < tag <= self._last[ours]:
            raise ProtocolError("%s, which was never opened" % what)
        return self.streams.get((ours, tag))

    def _data(self, stream: CoreStream, payload: bytes) -> None:
        if stream.recv != CoreStream.OPEN:
            return
        stream.chunks.append(payload)
        stream.unread += len(payload)
        self.events.append(("stream", stream))

    def _credited(self, stream: CoreStream, amount: int, what: str) -> None:
        if not amount or amount > MAX_CREDIT or stream.credit + amount > MAX_CREDIT:
            raise ProtocolError("%s: a credit of %d beyond %d" % (what, amount, stream.credit))
        stream.credit += amount
        self._queue_turn(stream)

    def _stop_or_reset(self, kind: int, tag: int, flags: int, f: Dict[int, Any]) -> None:
        what = "%s for stream %d" % (FRAME_NAMES[kind], tag)
        stream = self._find_stream(bool(flags & 1), tag, what)
        if stream is None or (kind == STOP and stream.send == CoreStream.ENDED):
            self._count("late frame")
            return
        code, reason, text = f.get(1, 0), f.get(2, 0), f.get(3, "")
        if kind == STOP:
            stream.write_error = stream.write_error or StreamError("the peer reads no more of the stream", code, text,
                                                                   stopped=True)
            self._drop_pending(stream)
            stream.send = CoreStream.ENDING
            self._queue_turn(stream)
        else:
            refused = reason in (REFUSED, GOING_AWAY)
            error = StreamError("the stream was %s by the peer" % ("refused" if refused else "reset"), code, text,
                                refused=refused)
            if stream.recv == CoreStream.OPEN:
                stream.read_error = error
            stream.recv = CoreStream.ENDED
            if stream.send != CoreStream.ENDED:
                stream.write_error = error
                self._drop_pending(stream)
                stream.send = CoreStream.ENDED
                stream.due_reset = b""
                self._queue_control(stream)
            self._retire(stream)
        self.events.append(("stream", stream))

    def read_stream(self, stream: CoreStream, most: int) -> Optional[bytes]:
        """Take at most so many bytes that were received: b"" at the end, None if there are none yet."""
        if stream.chunks:
            chunk = stream.chunks.popleft()
            if len(chunk) > most:
                stream.chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            stream.unread -= len(chunk)
            self._read(stream, len(chunk))
            return chunk
        if stream.read_error is not None:
            raise stream.read_error
        return b"" if stream.recv == CoreStream.ENDED else None

    def _read(self, stream: CoreStream, n: int) -> None:
        """Give credit for what was read, in lumps."""
        stream.taken += n
        if stream.recv != CoreStream.OPEN or stream.taken < stream.window // 4:
            return
        if stream.limited and not stream.unread and stream.window < self.options.max_stream_window:
            grow = min(stream.window, self.options.max_stream_window - stream.window,
                       self.options.stream_memory - self._window_memory)
            self._window_memory += grow
            stream.window += grow
            stream.taken += grow
            stream.limited = False
        stream.left += stream.taken
        stream.due_credit += stream.taken
        stream.taken = 0
        self._queue_control(stream)

    def write_stream(self, stream: CoreStream, data: Any) -> int:
        """Take bytes to be sent, and return how many were taken: 0 if there is no room for now."""
        if stream.write_error is not None:
            raise stream.write_error
        if stream.send != CoreStream.SENDING:
            raise StreamError("the stream's writing side is closed", remote=False)
        taken, size = 0, len(data)
        while taken < size and stream.unsent < SEND_BUFFER:
            chunk = bytes(data[taken : taken + MAX_PIECE])
            taken += len(chunk)
            stream.unsent += len(chunk)
            if stream.pending and len(stream.pending[-1]) + len(chunk) <= SMALL_WRITES:
                stream.pending[-1] += chunk
            else:
                stream.pending.append(chunk)
        if taken:
            self._queue_turn(stream)
        return taken

    def close_stream_writing(self, stream: CoreStream) -> None:
        """END follows what was written."""
        if stream.send == CoreStream.SENDING and not self.recv_ended:
            stream.send = CoreStream.ENDING
            self._queue_turn(stream)

    def close_stream_reading(self, stream: CoreStream, code: int = 0, text: str = "") -> None:
        """Read no more, and drop what comes: STOP."""
        if stream.recv == CoreStream.OPEN:
            stream.recv = CoreStream.STOPPED
            stream.due_stop = self._why(code, 0, text)
            self._queue_control(stream)
        self._drop_unread(stream, StreamError("the stream's reading side is closed", remote=False))

    def reset_stream(self, stream: CoreStream, code: int = 0, text: str = "", reason: int = 0) -> None:
        """End both directions at once."""
        error = StreamError("the stream was reset", code, text, remote=False)
        self._drop_unread(stream, error)
        if stream.over or stream.recv == CoreStream.RESET:
            return
        # Towards a peer that still sends RESET says more than the END that ended this direction.
        if stream.send != CoreStream.ENDED:
            self._drop_pending(stream)
            stream.write_error = stream.write_error or error
            stream.send = CoreStream.ENDED
            stream.due_reset = self._why(code, reason, text)
            if stream.recv != CoreStream.ENDED:
                stream.recv = CoreStream.RESET
            self._queue_control(stream)
            self._retire(stream)
        elif stream.recv == CoreStream.OPEN:
            stream.recv = CoreStream.RESET
            stream.due_reset = self._why(code, reason, text)
            self._queue_control(stream)
        self.events.append(("stream", stream))

    @staticmethod
    def _why(code: int, reason: int, text: str) -> bytes:
        clipped = _clip(text, MAX_STREAM_TEXT)
        return _number_field(1, code) + _number_field(2, reason) + (_field(3, clipped) if clipped else b"")

    def _drop_unread(self, stream: CoreStream, error: BaseException) -> None:
        stream.chunks.clear()
        stream.unread = 0
        stream.read_error = error
        self.events.append(("stream", stream))

    def _drop_pending(self, stream: CoreStream) -> None:
        stream.pending.clear()
        stream.unsent = 0

    def _fail_stream(self, stream: CoreStream, error: BaseException) -> None:
        """The connection has ended."""
        if stream.recv == CoreStream.OPEN:
            stream.read_error = error
        stream.recv = stream.send = CoreStream.ENDED
        stream.write_error = stream.write_error or error
        self._drop_pending(stream)
        self.events.append(("stream", stream))

    def _queue_turn(self, stream: CoreStream) -> None:
        if not stream.in_turns and stream.more():
            stream.in_turns = True
            self._turns.append(stream)

    def _queue_control(self, stream: CoreStream) -> None:
        if not stream.in_control and not self.eof_sent:
            stream.in_control = True
            self._stream_control.append(stream)

    def _emit_stream_control(self, out: List[bytes]) -> None:
        streams, self._stream_control = self._stream_control, []
        for stream in streams:
            stream.in_control = False
            flag = 0 if stream.ours else 1
            if stream.due_reset is not None:
                out.append(_frame(RESET, stream.number, flag, stream.due_reset))
            elif stream.due_stop is not None:
                out.append(_frame(STOP, stream.number, flag, stream.due_stop))
            elif stream.due_credit and stream.recv == CoreStream.OPEN:
                out.append(_frame(CREDIT, stream.number, stream.due_credit << 1 | flag))
            stream.due_reset = stream.due_stop = None
            stream.due_credit = 0

    def _ended_sending(self, stream: CoreStream) -> None:
        stream.send = CoreStream.ENDED
        self._retire(stream)
        self.events.append(("stream", stream))

    def _retire(self, stream: CoreStream) -> None:
        """Forget a stream that is over."""
        if not stream.over or self.streams.pop((stream.ours, stream.number), None) is None:
            return
        self._open[stream.ours] -= 1
        self._window_memory -= stream.window - self.options.stream_window
        if not stream.accepted:
            self.backlog.pop(stream.number, None)
        if stream.ours:
            self.events.append(("room", None))


# --- Descriptors -----------------------------------------------------------------------------------------------

_READ = 256 << 10


def _private(fd: int, flags: int) -> int:
    """Open a pipe anew, so that it can be non-blocking without changing what others share. Where that cannot be done
    the descriptor itself is returned; else it is closed."""
    try:
        if sys.platform.startswith("linux") and stat.S_ISFIFO(os.fstat(fd).st_mode):
            own = os.open("/proc/self/fd/%d" % fd, flags | os.O_NONBLOCK | os.O_CLOEXEC)
            os.close(fd)
            return own
    except OSError:
        pass
    return fd


def _take_stdio() -> Tuple[int, Optional[int]]:
    """Move descriptors 0 and 1 out of the way: prints go to standard error, and reads of sys.stdin find nothing. If
    they are a socket the first alone is returned."""
    sys.stdout.flush()
    fds = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(null, 1)
    os.close(null)
    if all(stat.S_ISSOCK(os.fstat(fd).st_mode) for fd in fds):
        os.close(fds[1])
        return fds[0], None
    return fds


def _spawn(args: Any, popen: Dict[str, Any]) -> "Tuple[subprocess.Popen[bytes], int, int]":
    process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **popen)
    assert process.stdin is not None and process.stdout is not None
    fds = os.dup(process.stdout.fileno()), os.dup(process.stdin.fileno())
    process.stdin.close()
    process.stdout.close()
    return process, fds[0], fds[1]


class _Descriptors:
    """A pair of descriptors, or a socket. One thread reads, one at a time writes."""

    def __init__(self, recv: int, send: int, sock: Optional[socket.socket] = None) -> None:
        self.sock = sock
        if sock is None:
            recv, send = _private(recv, os.O_RDONLY), _private(send, os.O_WRONLY)
        self.recv, self.send = recv, send
        self._free = sock is not None or not os.get_blocking(send)  # writes never block
        self._pipes = os.pipe() + os.pipe()  # by which the reader and the writer are woken
        for fd in self._pipes:
            os.set_blocking(fd, False)
        self._readable, self._writable, self._now = select.poll(), select.poll(), select.poll()
        self._readable.register(recv, select.POLLIN)
        self._readable.register(self._pipes[0], select.POLLIN)
        self._writable.register(send, select.POLLOUT)
        self._writable.register(self._pipes[2], select.POLLIN)
        self._now.register(send, select.POLLOUT)

    def read(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """Read what there is, waiting for the first byte: b"" at the end, None when woken or after the timeout."""
        events = self._readable.poll(None if timeout is None else max(0, timeout * 1000))
        for fd, _ in events:
            if fd == self.recv:
                try:
                    return os.read(self.recv, _READ)
                except BlockingIOError:
                    return None
                except OSError:
                    return b""  # as a socket that was reset
        if events:
            os.read(self._pipes[0], 64)
        return None

    def try_write(self, data: Any) -> int:
        """Write what can be written without waiting."""
        try:
            if self.sock is not None:
                return self.sock.send(data, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
            if self._free:
                return os.write(self.send, data)
            if not self._now.poll(0):
                return 0
            return os.write(self.send, data[: select.PIPE_BUF])  # this much never blocks in a writable pipe
        except BlockingIOError:
            return 0

    def wait_writable(self) -> None:
        self._writable.poll()

    def wake_reader(self) -> None:
        """Have a read end, or the next."""
        self._poke(1)

    def wake_writer(self) -> None:
        """Have all waiting for writing end, from now on."""
        self._poke(3)

    def _poke(self, which: int) -> None:
        try:
            os.write(self._pipes[which], b"!")
        except OSError:
            pass

    def close_write(self) -> None:
        if self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        elif self.send >= 0:
            self._writable.unregister(self.send)
            self._now.unregister(self.send)
            os.close(self.send)
            self.send = -1

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
        else:
            self.close_write()
            os.close(self.recv)
        for fd in self._pipes:
            os.close(fd)


class _Files:
    """Any pair of file objects. A read or write that blocks cannot be interrupted."""

    def __init__(self, recv: Any, send: Any) -> None:
        self._recv, self._send = recv, send
        self._read = getattr(recv, "read1", recv.read)

    def read(self, timeout: Optional[float] = None) -> Optional[bytes]:
        try:
            data = self._read(_READ)
        except (OSError, ValueError):
            return b""
        return data

    def try_write(self, data: Any) -> int:
        return 0

    def write_all(self, data: Any) -> None:
        view = memoryview(data)
        while view:
            n = self._send.write(view)
            view = view[n if n is not None else len(view) :]
        flush = getattr(self._send, "flush", None)
        if flush is not None:
            flush()

    def wake_reader(self) -> None:
        pass

    def wake_writer(self) -> None:
        pass

    def close_write(self) -> None:
        if self._send is not self._recv:
            self._send.close()

    def close(self) -> None:
        self._send.close()
        self._recv.close()


def _wires(recv: Any, send: Any) -> Any:
    """Make the transport of what a user gives."""
    if isinstance(recv, socket.socket):
        return _Descriptors(recv.fileno(), recv.fileno(), recv)
    if send is None:
        send = recv
    if not isinstance(recv, int):
        return _Files(recv, send)
    if recv == send:
        sock = socket.socket(fileno=recv)
        return _Descriptors(recv, recv, sock)
    return _Descriptors(recv, send)


# --- What both faces have --------------------------------------------------------------------------------------


class _Face:
    """What Connection and AsyncConnection have in common. _lock is held wherever _core is used."""

    _lock: Any

    def __init__(self, handler: Optional[Callable[[Request], Any]], options: Dict[str, Any]) -> None:
        self.options = Options(**options)
        self.process: "Optional[subprocess.Popen[bytes]]" = None
        self._handlers = dict(self.options.channels)
        if handler is not None:
            self._handlers[0] = handler
        self._core = Core(self._handlers, self.options)

    @property
    def error(self) -> Optional[BaseException]:
        """How the connection has ended, or None."""
        return self._core.error

    def _check_end(self) -> None:
        """Raise the error of a connection that has not ended in good order."""
        if not isinstance(self.error, (ClosedError, PeerClosedError)):
            assert self.error is not None
            raise self.error.with_traceback(None)

    def _report(self, request: Request, error: BaseException) -> None:
        """Say that a handler has failed, unless that is for the peer to see or nobody waits for the answer."""
        if isinstance(error, HandlerError) or request.cancelled:
            return
        try:
            if self.options.on_handler_error is not None:
                self.options.on_handler_error(request, error)
            else:
                log.error("a handler of requests of type %d has failed", request.type, exc_info=error)
        except Exception:
            pass


class _StreamFace:
    """What Stream and AsyncStream have in common: all that does not wait."""

    def __init__(self, connection: Any, state: CoreStream) -> None:
        self._connection, self._state = connection, state
        state.face = self

    @property
    def name(self) -> str:
        return self._state.name

    @property
    def metadata(self) -> "List[Tuple[str, bytes]]":
        return self._state.metadata

    @property
    def number(self) -> int:
        return self._state.number

    def close_write(self) -> None:
        """Write no more: the peer reads to the end of what was written."""
        with self._connection._lock:
            self._connection._core.close_stream_writing(self._state)
        self._connection._flush()

    def close_read(self, code: int = 0, text: str = "") -> None:
        """Read no more: the peer's writes fail with the code and text."""
        with self._connection._lock:
            self._connection._core.close_stream_reading(self._state, code, text)
        self._connection._flush()

    def close(self) -> None:
        """Read and write no more. What was written is delivered still."""
        with self._connection._lock:
            if self._state.recv == CoreStream.OPEN:
                self._connection._core.close_stream_reading(self._state)
            self._connection._core.close_stream_writing(self._state)
        self._connection._flush()

    def reset(self, code: int = 0, text: str = "") -> None:
        """End the stream at once. What was not sent or not read yet is dropped, and the peer gets the code and text."""
        self._reset(code, text, 0)

    def refuse(self, text: str = "") -> None:
        """Reset a stream that the peer has opened and that was not used: nobody takes it."""
        self._reset(0, text, REFUSED)

    def _reset(self, code: int, text: str, reason: int) -> None:
        with self._connection._lock:
            self._connection._core.reset_stream(self._state, code, text, reason)
        self._connection._flush()

    def _end(self, error: Optional[BaseException]) -> None:
        """Close the stream, or reset it if the block that it was used in was left by an exception."""
        if error is None:
            self.close()
        else:
            self.reset()

    def _fail(self, error: Exception) -> None:
        """Reset the stream, since its handler has failed."""
        if isinstance(error, HandlerError):
            self.reset(error.code, error.text)
            return
        if not isinstance(error, (StreamError, EndedError)):
            log.error("a handler of streams has failed", exc_info=error)
        self.reset()


def _request_payload(payload: Any) -> bytes:
    return payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else bytes(payload)


def _message(message: Any) -> bytes:
    """A message as the bytes of a stream: its length and its bytes."""
    message = bytes(message)
    return encode_uint(len(message)) + message


def _longer_head(head: bytes, octet: bytes) -> bytes:
    """What was read of a message's length, with its next octet, which is b"" at the end of the stream."""
    if not octet:
        raise EOFError("the stream ends inside a message")
    head += octet
    if len(head) > MAX_NUMBER_OCTETS:
        raise LimitError("octets of a message's length", len(head), MAX_NUMBER_OCTETS)
    return head


def _message_size(head: bytes, most: int) -> int:
    size = decode_uint(head)[0]
    if size > most:
        raise LimitError("message, bytes", size, most)
    return size


# --- Connection ------------------------------------------------------------------------------------------------

_local = threading.local()


class _Workers:
    """Threads that run handlers, as many as there is work for and not more than allowed. Those that wait in a call on
    the same connection do not count, so that calls nest to any depth."""

    def __init__(self, run: Callable[[Any], None], most: int) -> None:
        self._run, self._most = run, most
        self._jobs: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the rest
        self._waiting_jobs = self._idle = self._away = 0
        self._threads: List[threading.Thread] = []
        self._closed = False

    def put(self, job: Any) -> None:
        with self._lock:
            if self._closed:
                return
            self._waiting_jobs += 1
            start = self._may_start()
        self._jobs.put(job)
        if start is not None:
            start.start()

    def _may_start(self) -> Optional[threading.Thread]:
        if self._waiting_jobs <= self._idle or len(self._threads) - self._away >= self._most:
            return None
        thread = threading.Thread(target=self._work, name="packetstream handler", daemon=True)
        self._threads.append(thread)
        return thread

    def _work(self) -> None:
        lock = self._lock
        while True:
            with lock:
                self._idle += 1
            job = self._jobs.get()
            with lock:
                self._idle -= 1
                self._waiting_jobs -= 1
            if job is None:
                return
            self._run(job)

    def leave(self) -> None:
        """The calling handler begins to wait: another may run meanwhile."""
        with self._lock:
            self._away += 1
            start = None if self._closed else self._may_start()
        if start is not None:
            start.start()

    def rejoin(self) -> None:
        with self._lock:
            self._away -= 1

    def close(self, timeout: float) -> bool:
        """Join all threads but the calling one; return whether all have ended."""
        with self._lock:
            self._closed = True
            threads = list(self._threads)
            self._waiting_jobs += len(threads)
        for _ in threads:
            self._jobs.put(None)
        until = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))
        return not any(t.is_alive() for t in threads if t is not threading.current_thread())


class PendingCall:
    """A call under way: what Connection.submit returns."""

    __slots__ = ("_connection", "_call", "_lock", "_queued")

    def __init__(self, connection: "Connection", call: Call) -> None:
        self._connection, self._call = connection, call
        self._queued = call.state != Call.WAITING
        self._lock = threading.Lock()  # released when the call is done
        self._lock.acquire()

    def done(self) -> bool:
        """Whether there is a result, so that result() does not wait."""
        return self._call.state == Call.DONE

    def result(self, timeout: Optional[float] = None) -> Response:
        """Wait for the answer. An error is raised: RemoteError if the peer has answered with one. When the timeout, in
        seconds, is over, that is CallTimeout and the call goes on."""
        if not self.done():
            if not self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout)):
                raise CallTimeout("the call is not answered yet")
            self._lock.release()
        return self._call.result()

    def cancel(self, text: str = "", code: int = 0) -> bool:
        """Give the call up: its result is CallCancelled, and a peer with extensions is told. False if it was done."""
        return self._connection._cancel(self._call, CallCancelled(text, code), CANCELLED, code, text)


class Stream(_StreamFace):
    """Bytes both ways, one of many streams beside the calls of a connection. A reader that does not read holds up its
    own stream's writer and nobody else. Every stream has to be closed or reset; as a context manager it is closed, or
    reset if an exception leaves the block. The methods may be called from several threads."""

    def __init__(self, connection: "Connection", state: CoreStream) -> None:
        super().__init__(connection, state)
        self._changed = threading.Condition(connection._lock)
        self._writing = threading.Lock()  # held by the one writer

    @property
    def connection(self) -> "Connection":
        return self._connection

    def read(self, size: int = 64 << 10, timeout: Optional[float] = None) -> bytes:
        """Read at most size bytes, waiting for the first: b"" at the end. StreamError if the stream was reset,
        TimeoutError after the timeout."""
        c = self._connection
        with c._lock:
            data = self._wait(lambda: c._core.read_stream(self._state, size), timeout)
            flush = bool(self._state.in_control)
        if flush:
            c._flush()
        return data

    def readall(self) -> bytes:
        """Read to the end."""
        return b"".join(iter(self.read, b""))

    def read_exactly(self, size: int) -> bytes:
        """Read so many bytes. EOFError if the stream ends before."""
        chunks = []
        while size:
            chunk = self.read(size)
            if not chunk:
                raise EOFError("the stream ends before all bytes were read")
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def write(self, data: Any, timeout: Optional[float] = None) -> int:
        """Write all of the bytes, waiting for the reader if need be. TimeoutError after the timeout: then some of them
        may have been sent."""
        c = self._connection
        view = memoryview(data).cast("B")
        written = 0
        with self._writing:
            while True:
                with c._lock:
                    written += c._core.write_stream(self._state, view[written:])
                c._flush()
                if written == len(view):
                    return written
                with c._lock:
                    self._wait(lambda: True if self._state.unsent < SEND_BUFFER or self._state.write_error else None,
                               timeout)

    def _wait(self, ready: Callable[[], Any], timeout: Optional[float]) -> Any:
        """Wait until ready gives something. The connection's lock is held."""
        until = None if timeout is None else time.monotonic() + timeout
        result = ready()
        if result is not None:
            return result
        self._connection._leave()
        try:
            while result is None:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("the stream's timeout is over")
                self._changed.wait(left)
                result = ready()
            return result
        finally:
            self._connection._rejoin()

    def send_message(self, message: Any) -> None:
        """Write a message: its length and its bytes."""
        self.write(_message(message))

    def recv_message(self, most: int = 16 << 20) -> Optional[bytes]:
        """Read a message of at most so many bytes, or None at the end."""
        head = self.read(1)
        if not head:
            return None
        while head[-1] & 0x80:
            head = _longer_head(head, self.read(1))
        return self.read_exactly(_message_size(head, most))

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._end(error)


class Connection(_Face):
    """A packet connection for threads.

    handler(request) answers the peer's requests. Its result is None, flags (an int), bytes, text, a pair of flags and
    bytes, or a Reply. It may raise HandlerError for the peer to see. Handlers run concurrently, in threads of the
    connection, and may call back on request.connection, to any depth. Settings are keyword arguments: see Options.

    recv and send are descriptors, or file objects; recv alone is a socket, or the descriptor of one. They are the
    connection's from then on, which closes them. File objects should be unbuffered or have read1, and a read or write
    of theirs that blocks cannot be interrupted. Descriptors need a system that has select.poll.

    All methods may be called from several threads. As a context manager the connection is shut down, or closed if an
    exception leaves the block.
    """

    def __init__(self, recv: Any, send: Any = None, handler: Optional[Callable[[Request], Any]] = None,
                 **options: Any) -> None:
        super().__init__(handler, options)
        self._lock = threading.Lock()  # guards _core and all that follows
        self._changed = threading.Condition(self._lock)  # of what _wait_for waits for
        self._ended = threading.Condition(self._lock)  # of requests that wait_cancelled waits for
        self._writing = False  # somebody writes
        self._handed = False  # and that is the sender
        self._batch: Any = b""  # what the sender is to write first
        self._send_due = threading.Condition(self._lock)
        self._write_error: Optional[BaseException] = None
        self._write_closed = self._finished = self._sender_stops = False
        self._stream_threads: List[threading.Thread] = []
        self._accepting = threading.Condition(self._lock)
        self._wires = _wires(recv, send)
        self._workers = _Workers(self._handle, self.options.max_handlers or 64)
        self._receiver = threading.Thread(target=self._receive, name="packetstream receiver", daemon=True)
        self._sender = threading.Thread(target=self._send, name="packetstream sender", daemon=True)
        self._sender.start()
        self._receiver.start()  # the last, since it may come to the end of the connection at once
        self._flush()

    @classmethod
    def stdio(cls, handler: Optional[Callable[[Request], Any]] = None, **options: Any) -> "Connection":
        """Connect over this process's standard input and output, for a helper. They are moved out of the way: what is
        printed from then on goes to standard error."""
        recv, send = _take_stdio()
        return cls(recv, send, handler, **options)

    @classmethod
    def spawn(cls, args: Any, handler: Optional[Callable[[Request], Any]] = None, *,
              popen: Optional[Dict[str, Any]] = None, **options: Any) -> "Connection":
        """Start a program and connect over its standard input and output. popen has further arguments for
        subprocess.Popen, whose object is the connection's process. Closing the connection ends the program."""
        process, recv, send = _spawn(args, popen or {})
        connection = cls(recv, send, handler, **options)
        connection.process = process
        return connection

    # Calls.

    def call(self, kind: int, payload: Any = b"", *, flags: int = 0, channel: int = 0, metadata: Pairs = (),
             timeout: Optional[float] = None) -> Response:
        """Make a request and wait for its answer. Payload is bytes or text. The timeout, in seconds, raises
        CallTimeout; a peer with extensions is told of it, and when the call is given up. metadata, pairs of text and
        bytes, needs such a peer: NoExtensionsError else. RemoteError if the peer has answered with an error."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = self._submit(kind, payload, flags, channel, metadata, deadline)
        away = self._leave()
        try:
            left = -1 if deadline is None else max(0.0, deadline - time.monotonic())
            if not pending._lock.acquire(timeout=left):
                self._cancel(pending._call, CallTimeout("the call was not answered in time"), DEADLINE)
            return pending.result()
        except BaseException:
            if pending._call.state != Call.DONE:  # as KeyboardInterrupt
                pending.cancel()
            raise
        finally:
            if away:
                self._rejoin()

    def submit(self, kind: int, payload: Any = b"", *, flags: int = 0, channel: int = 0, metadata: Pairs = (),
               timeout: Optional[float] = None) -> PendingCall:
        """Make a request without waiting for its answer. It waits only while the peer takes no more requests. The
        timeout is what a peer with extensions is told that it has."""
        deadline = None if timeout is None else time.monotonic() + timeout
        return self._submit(kind, payload, flags, channel, metadata, deadline)

    def _submit(self, kind: int, payload: Any, flags: int, channel: int, metadata: Pairs,
                deadline: Optional[float]) -> PendingCall:
        payload = _request_payload(payload)
        in_handler = self._in_handler()
        if metadata or self.options.extensions == "required":
            self._await_extensions(deadline)
        with self._lock:
            call = self._core.call(channel, kind, flags, payload, metadata, deadline, in_handler)
            pending = call.face = PendingCall(self, call)
            step = self._step()
        self._finish(step)
        if not pending._queued:
            try:
                with self._lock:
                    self._wait_for(lambda: pending._queued or None, deadline)
            except BaseException as error:
                self._cancel(call, error, CANCELLED)
                raise
        return pending

    def _cancel(self, call: Call, error: BaseException, reason: int, code: int = 0, text: str = "") -> bool:
        with self._lock:
            done = self._core.cancel(call, error, reason, code, text)
            step = self._step()
        self._finish(step)
        return done

    def ping(self, timeout: Optional[float] = None) -> float:
        """Ask the peer for a sign of life, and return how many seconds it took. NoExtensionsError if it has none."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._await_extensions(deadline)
        with self._lock:
            ping = self._core.ping()
        self._flush()
        with self._lock:
            try:
                self._wait_for(lambda: ping.trip is not None or ping.error is not None or None, deadline)
            finally:
                self._core.forget_ping(ping)
        return ping.result()

    def go_away(self, code: int = 0, text: str = "") -> None:
        """Take no more requests and streams of the peer, and tell it if it has extensions. What was taken is finished."""
        with self._lock:
            self._core.going_away = True
        try:
            self._await_extensions(None)
        except NoExtensionsError:
            return
        with self._lock:
            self._core.go_away(code, text)
        self._flush()

    def _await_extensions(self, deadline: Optional[float]) -> None:
        with self._lock:
            if self._core.need_extensions():
                return
        self._flush()
        with self._lock:
            self._wait_for(lambda: self._core.extended is not None or None, deadline)
            self._core.need_extensions()

    # Streams.

    def open_stream(self, name: str = "", metadata: Pairs = (), *, timeout: Optional[float] = None) -> Stream:
        """Open a stream. It waits while the peer has as many as it takes, not for the peer to accept: a refusal is the
        StreamError of a later read or write. NoExtensionsError if the peer takes no streams."""
        deadline = None if timeout is None else time.monotonic() + timeout
        in_handler = self._in_handler()
        self._await_extensions(deadline)
        with self._lock:
            state = self._wait_for(lambda: self._core.open_stream(name, metadata, in_handler), deadline)
            stream = Stream(self, state)
        self._flush()
        return stream

    def accept_stream(self, timeout: Optional[float] = None) -> Stream:
        """Wait for the peer to open a stream, and take it. It needs accept_streams=True."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while True:
                state = self._core.accept_stream()
                if state is not None:
                    return Stream(self, state)
                if self._core.error is not None:
                    raise self._core.error.with_traceback(None)
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("no stream was opened in time")
                self._accepting.wait(left)

    def _start_stream_handlers(self) -> List[threading.Thread]:
        """Give streams that wait to handlers, as far as there is room. The lock is held."""
        started: List[threading.Thread] = []
        while self._core.backlog and len(self._stream_threads) < self.options.max_streams:
            state = self._core.accept_stream()
            assert state is not None
            thread = threading.Thread(target=self._handle_stream, args=(Stream(self, state),), daemon=True,
                                      name="packetstream stream")
            self._stream_threads.append(thread)
            started.append(thread)
        return started

    def _handle_stream(self, stream: Stream) -> None:
        try:
            assert self.options.stream_handler is not None
            self.options.stream_handler(stream)
            stream.close()
        except Exception as error:
            stream._fail(error)
        with self._lock:
            self._stream_threads.remove(threading.current_thread())
            more = self._start_stream_handlers() if self.options.stream_handler is not None else []
            self._changed.notify_all()
        for thread in more:
            thread.start()

    # Handlers.

    def _in_handler(self) -> bool:
        return getattr(_local, "connection", None) is self

    def _leave(self) -> bool:
        if not self._in_handler():
            return False
        self._workers.leave()
        return True

    def _rejoin(self) -> None:
        if self._in_handler():
            self._workers.rejoin()

    def _handle(self, request: Request) -> None:
        failed: Optional[BaseException] = None
        wrong: Optional[BaseException] = None
        result: Any = None
        if not request._abandoned:
            request.connection = self
            _local.connection = self
            try:
                result = self._handlers[request.channel](request)
            except BaseException as error:  # SystemExit included: the peer has to be answered
                failed = error
                self._report(request, error)
            finally:
                _local.connection = None
        with self._lock:
            try:
                if failed is not None or request._abandoned:
                    self._core.fail_request(request, failed or CallCancelled())
                else:
                    self._core.respond(request, result)
            except Exception as error:  # no result for a handler to have; the peer is told that it failed
                wrong = error
            step = self._step()
        if wrong is not None:
            self._report(request, wrong)
        self._finish(step)

    def _wait_cancelled(self, request: Request, timeout: Optional[float]) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while not request.cancelled:
                times = [t - time.monotonic() for t in (until, request.deadline) if t is not None]
                if times and min(times) <= 0:
                    break
                self._ended.wait(min(times) if times else None)
            return request.cancelled

    # What happens.

    def _dispatch(self) -> List[Any]:
        """Tell everybody of what has happened. Return the requests and threads to start, which the caller does without
        the lock. The lock is held."""
        events = self._core.events
        if not events:
            return []
        self._core.events = []
        jobs: List[Any] = []
        for what, it in events:
            if what == "call":
                pending = it.face
                if pending is None:
                    continue
                if not pending._queued:
                    pending._queued = True
                    self._changed.notify_all()
                if it.state == Call.DONE:
                    it.face = None
                    pending._lock.release()
            elif what == "request":
                jobs.append(it)
            elif what == "stream":
                if it.face is not None:
                    it.face._changed.notify_all()
            elif what == "opened":
                if self.options.stream_handler is not None:
                    jobs.extend(self._start_stream_handlers())
                else:
                    self._accepting.notify()
            elif what == "cancelled":
                self._ended.notify_all()
            else:
                self._changed.notify_all()
                if what == "ended":
                    self._accepting.notify_all()
        return jobs

    def _wait_for(self, ready: Callable[[], Any], deadline: Optional[float]) -> Any:
        """Wait until ready gives something. The lock is held."""
        result = ready()
        if result is not None:
            return result
        away = self._leave()
        try:
            while result is None:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise CallTimeout("the time is over")
                self._changed.wait(left)
                result = ready()
            return result
        finally:
            if away:
                self._rejoin()

    # Writing. Whoever has something to say writes it, as far as that does not block; the rest is the sender's.

    def _flush(self) -> None:
        with self._lock:
            step = self._step()
        self._finish(step)

    def _step(self) -> Tuple[Any, List[Any]]:
        """Tell what has happened, and take what is to be written if nobody writes. What is returned has to be given to
        _finish once the lock, which is held, is free."""
        jobs = self._dispatch()
        if self._writing or not self._core.has_output():
            return None, jobs
        self._writing = True
        batch = self._core.output()
        if self._core.events:
            jobs = jobs + self._dispatch()
        return batch, jobs

    def _finish(self, step: Tuple[Any, List[Any]]) -> None:
        batch, jobs = step
        for job in jobs:
            self._start(job)
        if batch is not None:
            self._write(batch)

    def _start(self, job: Any) -> None:
        if isinstance(job, Request):
            self._workers.put(job)
        else:
            job.start()

    def _write(self, batch: Any) -> None:
        """Write a batch and one more without blocking, and leave the rest to the sender."""
        for last in (False, True):
            if self._write_closed or self._write_error is not None:
                n = len(batch)
            else:
                try:
                    n = self._wires.try_write(batch)
                except OSError as error:
                    self._write_failed(error)
                    n = len(batch)
            with self._lock:
                if n < len(batch):
                    self._batch = memoryview(batch)[n:]
                    self._hand_over()
                    return
                if not self._core.has_output():
                    self._written()
                    return
                if last:
                    self._hand_over()
                    return
                batch = self._core.output()
                jobs = self._dispatch()
            for job in jobs:
                self._start(job)

    def _hand_over(self) -> None:
        """Writing is the sender's from now on. The lock is held."""
        self._handed = True
        self._send_due.notify()

    def _written(self) -> None:
        """Nothing more is to be written for now. The lock is held."""
        self._writing = self._handed = False
        if self._finished:
            self._changed.notify_all()
        if self._core.eof_sent and not self._write_closed:
            self._write_closed = True
            self._wires.close_write()
            self._changed.notify_all()

    def _write_failed(self, error: BaseException) -> None:
        with self._lock:
            if self._write_error is None:
                self._write_error = error
        self._wires.wake_reader()

    def _send(self) -> None:
        while True:
            with self._lock:
                while not (self._handed and (self._batch or self._core.has_output())):
                    if self._handed:
                        self._written()
                    if self._sender_stops:
                        return
                    self._send_due.wait()
                batch, self._batch = self._batch or self._core.output(), b""
                jobs = self._dispatch()
                stop = self._sender_stops
            for job in jobs:
                self._start(job)
            if stop or self._write_error is not None or self._write_closed:
                continue
            try:
                self._write_all(batch)
            except (OSError, ValueError) as error:
                self._write_failed(error)

    def _write_all(self, batch: Any) -> None:
        if isinstance(self._wires, _Files):
            self._wires.write_all(batch)
            return
        view = memoryview(batch)
        while view and not self._sender_stops:
            n = self._wires.try_write(view)
            view = view[n:]
            if view:
                self._wires.wait_writable()

    # Receiving, and the end.

    def _receive(self) -> None:
        gone_at: Optional[float] = None
        while True:
            data = self._wires.read(None if gone_at is None else gone_at - time.monotonic())
            with self._lock:
                if data:
                    self._core.receive(data)
                elif data is not None:
                    self._core.receive_eof()
                elif self._finished:
                    self._core.fail(ClosedError("the connection is closed"))
                elif self._write_error is not None:
                    gone_at = gone_at or time.monotonic() + 1.0
                    if time.monotonic() >= gone_at:
                        self._core.fail(PeerGoneError("the peer no longer reads: %s" % self._write_error))
                ended = self._core.recv_ended
                step = self._step()
            self._finish(step)
            if ended:
                break
        self._wind_down()

    def _wind_down(self) -> None:
        """Have what was accepted answered, for a while, and then send EOF."""
        with self._lock:
            self._until_written(time.monotonic() + self.options.drain_timeout)
            self._core.cancel_requests(self._core.error or ClosedError("the connection is closed"))
            self._core.force()
        self._flush()
        with self._lock:
            self._until_written(time.monotonic() + self.options.close_timeout)
            self._finished = self._sender_stops = True
            self._send_due.notify_all()
            self._changed.notify_all()
        self._wires.wake_writer()
        self._sender.join(self.options.close_timeout)
        with self._lock:
            until = time.monotonic() + self.options.close_timeout
            while self._writing and time.monotonic() < until:
                self._changed.wait(0.1)
            self._write_closed = True
        self._wires.close()

    def _until_written(self, until: float) -> None:
        """Wait until EOF has left, or cannot. The lock is held."""
        while not self._write_closed and self._write_error is None and not self._finished:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def wait(self, timeout: Optional[float] = None) -> None:
        """Wait until the connection has ended, by either end. The error is raised if that was not in good order."""
        self._receiver.join(timeout)
        if self._receiver.is_alive():
            raise TimeoutError("the connection goes on")
        self._join(self.options.close_timeout)
        self._check_end()

    def shutdown(self, timeout: Optional[float] = None) -> None:
        """Take no more requests, wait until what is outstanding either way is finished, streams included, and close."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            self._core.shutdown()
        self._flush()
        try:
            with self._lock:
                self._wait_for(lambda: self._write_closed or self._core.recv_ended or self._write_error is not None
                               or None, deadline)
        except CallTimeout:
            pass
        self.close()

    def close(self) -> None:
        """End the connection: our calls and streams fail at once with ClosedError, handlers at work are given
        drain_timeout to answer, and the peer close_timeout to end its side. A program that spawn() has started is
        then waited for as long, terminated, and at last killed. May be called again, and by handlers."""
        with self._lock:
            if not self._core.recv_ended:
                self._core.close(ClosedError("the connection is closed"))
            step = self._step()
        self._finish(step)
        if self._in_handler():
            return  # EOF follows its answer, and the receiver does the rest when the peer has ended its side
        self._end_side()
        self._receiver.join(None if isinstance(self._wires, _Descriptors) else self.options.close_timeout)
        self._join(self.options.close_timeout)
        if self.process is not None:
            _stop_process(self.process, self.options.close_timeout)

    def _end_side(self) -> None:
        """Send EOF, and have the receiver end even if the peer does not end its side."""
        now = time.monotonic()
        with self._lock:
            if not self._core.recv_ended:
                self._until_written(now + self.options.drain_timeout)
                self._core.cancel_requests(ClosedError("the connection is closed"))
                self._core.force()
        self._flush()
        until = time.monotonic() + self.options.close_timeout
        with self._lock:
            while not self._core.recv_ended:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            else:
                return
            self._finished = self._sender_stops = True
            self._send_due.notify()
            if isinstance(self._wires, _Files):  # whose read cannot be ended
                self._core.fail(ClosedError("the connection is closed"))
            step = self._step()
        self._finish(step)
        self._wires.wake_writer()
        self._wires.wake_reader()

    def _join(self, timeout: float) -> None:
        until = time.monotonic() + timeout
        self._workers.close(timeout)
        with self._lock:
            threads = list(self._stream_threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.close()


def _stop_process(process: "subprocess.Popen[bytes]", timeout: float) -> None:
    """Wait for a process whose input has ended, and see to it that it ends."""
    for stop in (None, process.terminate, process.kill):
        if stop is not None:
            stop()
        try:
            process.wait(timeout)
            return
        except subprocess.TimeoutExpired:
            pass
    process.wait()


# --- AsyncConnection -------------------------------------------------------------------------------------------

_handling: "contextvars.ContextVar[Any]" = contextvars.ContextVar("packetstream_connection", default=None)


class _Pipes(asyncio.Protocol):
    """What asyncio's transports call. The same object is for the reading and the writing one."""

    def __init__(self, connection: "AsyncConnection") -> None:
        self.connection = connection

    def data_received(self, data: bytes) -> None:
        self.connection._received(data)

    def eof_received(self) -> bool:
        self.connection._received(b"")
        return True

    def connection_lost(self, error: Optional[BaseException]) -> None:
        self.connection._received(b"")

    def pause_writing(self) -> None:
        self.connection._paused = True

    def resume_writing(self) -> None:
        self.connection._paused = False
        self.connection._flush()


class _WritePipe(asyncio.BaseProtocol):
    """What asyncio's transport of a pipe to write to calls."""

    def __init__(self, connection: "AsyncConnection") -> None:
        self.connection = connection

    def connection_lost(self, error: Optional[BaseException]) -> None:
        self.connection._write_lost(error)

    def pause_writing(self) -> None:
        self.connection._paused = True

    def resume_writing(self) -> None:
        self.connection._paused = False
        self.connection._flush()


class AsyncStream(_StreamFace):
    """Bytes both ways, one of many streams beside the calls of a connection. A reader that does not read holds up its
    own stream's writer and nobody else. Every stream has to be closed or reset; as an asynchronous context manager it
    is closed, or reset if an exception leaves the block."""

    def __init__(self, connection: "AsyncConnection", state: CoreStream) -> None:
        super().__init__(connection, state)
        self._waiters: "List[asyncio.Future[None]]" = []
        self._writing = asyncio.Lock()

    @property
    def connection(self) -> "AsyncConnection":
        return self._connection

    async def read(self, size: int = 64 << 10) -> bytes:
        """Read at most size bytes, waiting for the first: b"" at the end. StreamError if the stream was reset."""
        while True:
            data = self._connection._core.read_stream(self._state, size)
            if data is not None:
                if self._state.in_control:
                    self._connection._flush()
                return data
            await self._change()

    async def readall(self) -> bytes:
        """Read to the end."""
        chunks = []
        while True:
            chunk = await self.read()
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)

    async def read_exactly(self, size: int) -> bytes:
        """Read so many bytes. EOFError if the stream ends before."""
        chunks = []
        while size:
            chunk = await self.read(size)
            if not chunk:
                raise EOFError("the stream ends before all bytes were read")
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    async def write(self, data: Any) -> int:
        """Write all of the bytes, waiting for the reader if need be."""
        view = memoryview(data).cast("B")
        written = 0
        async with self._writing:
            while True:
                written += self._connection._core.write_stream(self._state, view[written:])
                self._connection._flush()
                if written == len(view):
                    return written
                while self._state.unsent >= SEND_BUFFER and self._state.write_error is None:
                    await self._change()

    async def _change(self) -> None:
        waiter = self._connection._loop.create_future()
        self._waiters.append(waiter)
        away = self._connection._leave()
        try:
            await waiter
        finally:
            self._connection._rejoin(away)
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def send_message(self, message: Any) -> None:
        """Write a message: its length and its bytes."""
        await self.write(_message(message))

    async def recv_message(self, most: int = 16 << 20) -> Optional[bytes]:
        """Read a message of at most so many bytes, or None at the end."""
        head = await self.read(1)
        if not head:
            return None
        while head[-1] & 0x80:
            head = _longer_head(head, await self.read(1))
        return await self.read_exactly(_message_size(head, most))

    async def __aenter__(self) -> "AsyncStream":
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._end(error)


class AsyncConnection(_Face):
    """A packet connection for asyncio: what Connection is for threads, with the same settings.

    handler(request) may be a coroutine function; each of its calls is a task, which is cancelled when the caller gives
    up or the caller's deadline is over. Any other function is called at once and must not block; what it returns may
    be awaitable. It is made by open, stdio or spawn, and is used in the event loop in which it was made.
    """

    def __init__(self, handler: Optional[Callable[[Request], Any]] = None, **options: Any) -> None:
        super().__init__(handler, options)
        self._lock = contextlib.nullcontext()  # the event loop's is the only thread
        self._loop = asyncio.get_running_loop()
        self._reading: Any = None  # transports
        self._writer: Any = None
        self._stream_writer: Any = None
        self._paused = self._flushing = self._write_closed = False
        self._write_error: Optional[BaseException] = None
        self._tasks: "Dict[Request, asyncio.Future[Any]]" = {}
        self._stream_tasks: "set[asyncio.Task[None]]" = set()
        self._queued: "deque[Request]" = deque()
        self._running = 0
        self._most = self.options.max_handlers or 1024
        self._waiters: "List[asyncio.Future[None]]" = []
        self._closed: "asyncio.Future[None]" = self._loop.create_future()
        self._end_task: "Optional[asyncio.Task[None]]" = None
        self._helper_tasks: "set[asyncio.Task[None]]" = set()

    @classmethod
    async def open(cls, recv: Any, send: Any = None, handler: Optional[Callable[[Request], Any]] = None,
                   **options: Any) -> "AsyncConnection":
        """Connect over a socket, a pair of descriptors of pipes or sockets, or an asyncio.StreamReader and
        StreamWriter. They are the connection's from then on."""
        connection = cls(handler, **options)
        loop = connection._loop
        if isinstance(recv, asyncio.StreamReader):
            connection._writer, connection._stream_writer = send.transport, send
            connection._writer.set_write_buffer_limits(high=4 * MAX_BATCH)
            connection._spawn_task(connection._read_stream(recv, send))
        elif isinstance(recv, socket.socket):
            await connection._open_socket(recv)
        elif send is None or send == recv:
            await connection._open_socket(socket.socket(fileno=recv))
        else:
            recv, send = _private(recv, os.O_RDONLY), _private(send, os.O_WRONLY)
            connection._writer, _ = await loop.connect_write_pipe(lambda: _WritePipe(connection),
                                                                  os.fdopen(send, "wb", 0))
            connection._writer.set_write_buffer_limits(high=4 * MAX_BATCH)
            connection._reading, _ = await loop.connect_read_pipe(lambda: _Pipes(connection), os.fdopen(recv, "rb", 0))
        connection._flush()
        return connection

    async def _open_socket(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._writer, _ = await self._loop.create_connection(lambda: _Pipes(self), sock=sock)
        self._writer.set_write_buffer_limits(high=4 * MAX_BATCH)

    @classmethod
    async def stdio(cls, handler: Optional[Callable[[Request], Any]] = None, **options: Any) -> "AsyncConnection":
        """Connect over this process's standard input and output, for a helper. They are moved out of the way: what is
        printed from then on goes to standard error."""
        recv, send = _take_stdio()
        return await cls.open(recv, send, handler, **options)

    @classmethod
    async def spawn(cls, args: Any, handler: Optional[Callable[[Request], Any]] = None, *,
                    popen: Optional[Dict[str, Any]] = None, **options: Any) -> "AsyncConnection":
        """Start a program and connect over its standard input and output. popen has further arguments for
        subprocess.Popen, whose object is the connection's process. Closing the connection ends the program."""
        process, recv, send = _spawn(args, popen or {})
        connection = await cls.open(recv, send, handler, **options)
        connection.process = process
        return connection

    # Calls.

    async def call(self, kind: int, payload: Any = b"", *, flags: int = 0, channel: int = 0, metadata: Pairs = (),
                   timeout: Optional[float] = None) -> Response:
        """Make a request and wait for its answer. Payload is bytes or text. The timeout, in seconds, raises
        CallTimeout; a peer with extensions is told of it, and when the call is given up, as by the end of the calling
        task. metadata, pairs of text and bytes, needs such a peer: NoExtensionsError else. RemoteError if the peer has
        answered with an error."""
        payload = _request_payload(payload)
        deadline = None if timeout is None else time.monotonic() + timeout
        in_handler = _handling.get() is self
        if metadata or self.options.extensions == "required":
            await self._await_extensions(deadline)
        call = self._core.call(channel, kind, flags, payload, metadata, deadline, in_handler)
        future = call.face = self._loop.create_future()
        timer = None
        if deadline is not None:
            timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._timed_out, call)
        self._flush()
        away = self._leave()
        try:
            await future
        except asyncio.CancelledError as error:
            self._core.cancel(call, CallCancelled(), CANCELLED, 0, str(error.args[0]) if error.args else "")
            self._flush()
            raise
        finally:
            self._rejoin(away)
            if timer is not None:
                timer.cancel()
        return call.result()

    def _timed_out(self, call: Call) -> None:
        self._core.cancel(call, CallTimeout("the call was not answered in time"), DEADLINE)
        self._flush()

    async def ping(self, timeout: Optional[float] = None) -> float:
        """Ask the peer for a sign of life, and return how many seconds it took. NoExtensionsError if it has none."""
        deadline = None if timeout is None else time.monotonic() + timeout
        await self._await_extensions(deadline)
        ping = self._core.ping()
        self._flush()
        try:
            await self._wait_for(lambda: ping.trip is not None or ping.error is not None, deadline)
        finally:
            self._core.forget_ping(ping)
        return ping.result()

    async def go_away(self, code: int = 0, text: str = "") -> None:
        """Take no more requests and streams of the peer, and tell it if it has extensions. What was taken is finished."""
        self._core.going_away = True
        try:
            await self._await_extensions(None)
        except NoExtensionsError:
            return
        self._core.go_away(code, text)
        self._flush()

    async def _await_extensions(self, deadline: Optional[float]) -> None:
        if self._core.need_extensions():
            return
        self._flush()
        await self._wait_for(lambda: self._core.extended is not None, deadline)
        self._core.need_extensions()

    async def _wait_for(self, ready: Callable[[], Any], deadline: Optional[float] = None) -> Any:
        away = self._leave()
        try:
            while True:
                result = ready()
                if result:
                    return result
                waiter = self._loop.create_future()
                self._waiters.append(waiter)
                timer = None
                if deadline is not None:
                    timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), _wake, waiter)
                try:
                    await waiter
                finally:
                    if timer is not None:
                        timer.cancel()
                    if waiter in self._waiters:
                        self._waiters.remove(waiter)
                if deadline is not None and time.monotonic() >= deadline and not ready():
                    raise CallTimeout("the time is over")
        finally:
            self._rejoin(away)

    # Streams.

    async def open_stream(self, name: str = "", metadata: Pairs = (), *,
                          timeout: Optional[float] = None) -> AsyncStream:
        """Open a stream. It waits while the peer has as many as it takes, not for the peer to accept: a refusal is the
        StreamError of a later read or write. NoExtensionsError if the peer takes no streams."""
        deadline = None if timeout is None else time.monotonic() + timeout
        in_handler = _handling.get() is self
        await self._await_extensions(deadline)
        state = await self._wait_for(lambda: self._core.open_stream(name, metadata, in_handler), deadline)
        stream = AsyncStream(self, state)
        self._flush()
        return stream

    async def accept_stream(self) -> AsyncStream:
        """Wait for the peer to open a stream, and take it. It needs accept_streams=True."""
        await self._wait_for(lambda: self._core.backlog or self._core.error is not None)
        state = self._core.accept_stream()
        if state is None:
            self._core.may_call(True)
            return await self.accept_stream()
        return AsyncStream(self, state)

    def _start_stream_handlers(self) -> None:
        while self._core.backlog and len(self._stream_tasks) < self.options.max_streams:
            state = self._core.accept_stream()
            assert state is not None
            task = self._loop.create_task(self._handle_stream(AsyncStream(self, state)))
            self._stream_tasks.add(task)
            task.add_done_callback(self._stream_handled)

    def _stream_handled(self, task: "asyncio.Task[None]") -> None:
        self._stream_tasks.discard(task)
        if self.options.stream_handler is not None:
            self._start_stream_handlers()

    async def _handle_stream(self, stream: AsyncStream) -> None:
        try:
            assert self.options.stream_handler is not None
            result = self.options.stream_handler(stream)
            if inspect.isawaitable(result):
                await result
            stream.close()
        except asyncio.CancelledError:
            stream.reset()
        except Exception as error:
            stream._fail(error)

    # Handlers.

    def _leave(self) -> bool:
        if _handling.get() is not self:
            return False
        self._running -= 1
        self._start_queued()
        return True

    def _rejoin(self, away: bool) -> None:
        if away:
            self._running += 1

    def _start_queued(self) -> None:
        while self._queued and self._running < self._most:
            self._start(self._queued.popleft())

    def _start(self, request: Request) -> None:
        """Begin the handler of a request."""
        if request._abandoned:
            self._core.fail_request(request, CallCancelled())
            return
        request.connection = self
        self._running += 1
        token = _handling.set(self)
        try:
            result = self._handlers[request.channel](request)
            if not inspect.isawaitable(result):
                self._running -= 1
                self._answer(request, result)
                return
            task = self._tasks[request] = asyncio.ensure_future(result)
        except Exception as error:
            self._running -= 1
            self._fail(request, error)
            return
        finally:
            _handling.reset(token)
        task.add_done_callback(lambda task: self._handled(request, task))
        if request.deadline is not None:
            timer = self._loop.call_later(max(0.0, request.deadline - time.monotonic()), self._cancel_task, request)
            task.add_done_callback(lambda _: timer.cancel())

    def _cancel_task(self, request: Request) -> None:
        task = self._tasks.get(request)
        if request.cancelled and task is not None:
            task.cancel()

    def _handled(self, request: Request, task: "asyncio.Future[Any]") -> None:
        """Answer a request whose task is done, or was cancelled, perhaps before it began."""
        self._running -= 1
        del self._tasks[request]
        if task.cancelled():
            self._fail(request, CallCancelled())
        else:
            error = task.exception()
            if error is not None:
                self._fail(request, error)
            else:
                self._answer(request, task.result())
        self._start_queued()
        self._flush()

    def _answer(self, request: Request, result: Any) -> None:
        try:
            self._core.respond(request, result)
        except Exception as error:
            self._report(request, error)

    def _fail(self, request: Request, error: BaseException) -> None:
        if not isinstance(error, CallCancelled):
            self._report(request, error)
        self._core.fail_request(request, error)

    # What happens.

    def _dispatch(self) -> None:
        """Tell everybody of what has happened."""
        core = self._core
        while core.events:
            events, core.events = core.events, []
            for what, it in events:
                if what == "call":
                    if it.face is not None and it.state == Call.DONE:
                        _wake(it.face)
                elif what == "request":
                    if self._running < self._most:
                        self._start(it)
                    else:
                        self._queued.append(it)
                elif what == "stream":
                    if it.face is not None:
                        for waiter in it.face._waiters:
                            _wake(waiter)
                elif what == "cancelled":
                    task = self._tasks.get(it)
                    if task is not None:
                        task.cancel()
                elif what == "opened" and self.options.stream_handler is not None:
                    self._start_stream_handlers()
                else:
                    self._wake_all()

    def _wake_all(self) -> None:
        for waiter in self._waiters:
            _wake(waiter)

    def _received(self, data: bytes) -> None:
        if self._core.recv_ended:
            return
        if data:
            self._core.receive(data)
        else:
            self._core.receive_eof()
        self._dispatch()
        self._flush()
        if self._core.recv_ended and self._end_task is None:
            self._end_task = self._loop.create_task(self._wind_down())

    async def _read_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._core.recv_ended:
            try:
                data = await reader.read(_READ)
            except OSError:
                data = b""
            self._received(data)

    async def _drain(self) -> None:
        try:
            while self._writer.get_write_buffer_size() > MAX_BATCH and not self._writer.is_closing():
                await asyncio.sleep(0.0005)
        finally:
            self._paused = False
            self._flush()

    def _spawn_task(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._helper_tasks.add(task)
        task.add_done_callback(self._helper_tasks.discard)

    def _flush(self) -> None:
        """Have what there is written, together with what else is said in this turn of the loop."""
        if not self._flushing and self._writer is not None:
            self._flushing = True
            self._loop.call_soon(self._write_out)

    def _write_out(self) -> None:
        self._flushing = False
        core, writer = self._core, self._writer
        self._dispatch()
        batches = 0
        while not self._paused and not self._write_closed and core.has_output():
            if batches == 8:  # others of this loop have a turn
                self._flush()
                break
            batches += 1
            data = core.output()
            if core.events:
                self._dispatch()
            if data and self._write_error is None:
                writer.write(data)
                if self._stream_writer is not None and writer.get_write_buffer_size() > 2 * MAX_BATCH:
                    # What tells this connection to wait is a StreamWriter's own.
                    self._paused = True
                    self._spawn_task(self._drain())
        if core.eof_sent and not self._write_closed:
            self._write_closed = True
            try:
                writer.write_eof()
            except (OSError, RuntimeError, NotImplementedError):
                writer.close()
            self._wake_all()

    def _write_lost(self, error: Optional[BaseException]) -> None:
        """The pipe to write to is closed: by us, or because the peer no longer reads."""
        self._paused = False
        if self._write_closed or self._write_error is not None:
            return
        self._write_error = error or BrokenPipeError(errno.EPIPE, "the peer has closed its input")
        self._wake_all()
        self._flush()
        self._loop.call_later(1.0, self._gone)

    def _gone(self) -> None:
        if not self._core.recv_ended:
            self._core.fail(PeerGoneError("the peer no longer reads: %s" % self._write_error))
            self._received_end()

    def _received_end(self) -> None:
        self._dispatch()
        self._flush()
        if self._end_task is None:
            self._end_task = self._loop.create_task(self._wind_down())

    async def _until_written(self, timeout: float) -> None:
        try:
            await self._wait_for(lambda: self._write_closed or self._write_error is not None,
                                 time.monotonic() + timeout)
        except CallTimeout:
            pass

    async def _wind_down(self) -> None:
        """Have what was accepted answered, for a while, and then send EOF."""
        await self._until_written(self.options.drain_timeout)
        self._core.cancel_requests(self._core.error or ClosedError("the connection is closed"))
        self._core.force()
        self._flush()
        await self._until_written(self.options.close_timeout)
        self._write_closed = True
        tasks = list(self._tasks.values()) + list(self._stream_tasks) + list(self._helper_tasks)
        for task in self._tasks.values():
            task.cancel()
        tasks = [task for task in tasks if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.options.close_timeout)
            for task in late:
                task.cancel()
        if self._reading is not None:
            self._reading.close()
        if self._writer is not None:
            left = time.monotonic() + self.options.close_timeout
            while self._writer.get_write_buffer_size() and time.monotonic() < left and self._write_error is None:
                await asyncio.sleep(0.005)
            if self._writer.get_write_buffer_size():
                self._writer.abort()
            self._writer.close()
        if self._stream_writer is not None:
            self._stream_writer.close()
        if not self._closed.done():
            self._closed.set_result(None)

    async def wait(self) -> None:
        """Wait until the connection has ended, by either end. The error is raised if that was not in good order."""
        await asyncio.shield(self._closed)
        self._check_end()

    async def shutdown(self, timeout: Optional[float] = None) -> None:
        """Take no more requests, wait until what is outstanding either way is finished, streams included, and close."""
        self._core.shutdown()
        self._flush()
        try:
            await self._wait_for(
                lambda: self._write_closed or self._core.recv_ended or self._write_error is not None,
                None if timeout is None else time.monotonic() + timeout)
        except CallTimeout:
            pass
        await self.close()

    async def close(self) -> None:
        """End the connection: our calls and streams fail at once with ClosedError, handlers at work are given
        drain_timeout to answer, and the peer close_timeout to end its side. A program that spawn() has started is
        then waited for as long, terminated, and at last killed. May be called again, and by handlers."""
        core = self._core
        error = ClosedError("the connection is closed")
        if not core.recv_ended:
            core.close(error)
            self._dispatch()
            self._flush()
            if _handling.get() is self:
                return  # EOF follows its answer, and the rest when the peer has ended its side
            await self._until_written(self.options.drain_timeout)
            core.cancel_requests(error)
            core.force()
            self._dispatch()
            self._flush()
            try:
                await self._wait_for(lambda: core.recv_ended, time.monotonic() + self.options.close_timeout)
            except CallTimeout:
                core.fail(error)
                self._received_end()
        if _handling.get() is self:
            return
        await asyncio.shield(self._closed)
        if self.process is not None:
            await self._loop.run_in_executor(None, _stop_process, self.process, self.options.close_timeout)

    async def __aenter__(self) -> "AsyncConnection":
        return self

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            await self.shutdown()
        else:
            await self.close()


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
