#!/usr/bin/env python3
"""Tests of packetstream.py by itself: python3 test_packetstream.py"""

import ast
import asyncio
import io
import json
import os
import random
import socket
import threading
import time
import unittest

import packetstream as ps
from packetstream import (CallCancelled, CallTimeout, ClosedError, Connection, Core, HandlerError, LimitError,
                          NoExtensionsError, Options, Packet, PeerClosedError, ProtocolError, RemoteError, StreamError,
                          decode_packet, decode_uint, encode_packet, encode_uint)

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 20  # seconds, for anything that should not hang


def vectors():
    with open(os.path.join(HERE, "../../testdata/packetstream/vectors.json"), encoding="utf-8") as f:
        return json.load(f)


class Syntax(unittest.TestCase):
    def test_python_3_9(self):
        with open(os.path.join(HERE, "packetstream.py"), encoding="utf-8") as f:
            tree = ast.parse(f.read(), feature_version=(3, 9))
        imported = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported.update(name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module)
        # All are of the standard library of 3.9.
        self.assertEqual(imported, set(
            "asyncio contextlib contextvars errno inspect logging os queue select socket stat subprocess sys threading "
            "time collections typing".split()))


class Vectors(unittest.TestCase):
    """The golden vectors, which the reference has written."""

    def test_numbers(self):
        v = vectors()["bsuint"]
        for case in v["encode"]:
            n, wire = int(case["value"]), bytes.fromhex(case["wire"])
            if n > ps.MAX_NUMBER:
                self.assertRaises(ValueError, encode_uint, n)
                continue
            self.assertEqual(encode_uint(n), wire)
            self.assertEqual(decode_uint(wire), (n, len(wire)))
        for case in v["decode"]:
            wire = bytes.fromhex(case["wire"])
            if int(case["value"]) > ps.MAX_NUMBER:
                self.assertRaises(ProtocolError, decode_uint, wire)
            else:
                self.assertEqual(decode_uint(wire), (int(case["value"]), case["consumed"]))
        for case in v["decode_errors"]:
            self.assertRaises(ProtocolError, decode_uint, bytes.fromhex(case["wire"]))

    def test_packets(self):
        cases, beyond = vectors()["packets"], 0
        for case in cases:
            wire = bytes.fromhex(case["wire"])
            tag, flags = int(case["tag"]), int(case["flags"])
            if tag > ps.MAX_NUMBER or flags > ps.MAX_FLAGS:
                beyond += 1
                self.assertRaises(ProtocolError, decode_packet, wire)
                continue
            packet = Packet(case["is_request"], tag, flags, int(case["channel"]), int(case.get("rq_type") or 0),
                            bytes.fromhex(case["payload"]))
            self.assertEqual(encode_packet(packet), wire)
            self.assertEqual(decode_packet(wire), (packet, len(wire)))
        self.assertEqual((len(cases), beyond), (254, 34))

    def test_malformed(self):
        beyond = 0
        for case in vectors()["malformed"]:
            wire = bytes.fromhex(case["wire"])
            try:
                packet, size = decode_packet(wire)
            except ProtocolError:
                if "error" not in case:
                    beyond += 1  # over 64 bits
                continue
            self.assertNotIn("error", case, case["about"])
            want = case["accepted"]
            self.assertEqual((packet.tag, packet.flags, packet.channel, packet.payload.hex()),
                             (int(want["tag"]), int(want["flags"]), int(want["channel"]), want["payload"]))
            self.assertEqual(size, want.get("consumed", size))
        self.assertLessEqual(beyond, 4)

    def test_eof(self):
        self.assertEqual(ps.EOF_PACKET.hex(), vectors()["special"]["EOF"])

    def test_random_packets(self):
        rng = random.Random(1)
        for _ in range(500):
            wire = bytearray(encode_packet(Packet(
                bool(rng.getrandbits(1)), rng.getrandbits(rng.choice((3, 20, 64))), rng.getrandbits(20),
                rng.choice((0, 1, 300)), rng.getrandbits(14), rng.randbytes(rng.randrange(50)))))
            wire[rng.randrange(len(wire))] = rng.getrandbits(8)
            try:
                packet, size = decode_packet(bytes(wire))
            except ProtocolError:
                continue
            self.assertEqual(decode_packet(encode_packet(packet))[0].payload, packet.payload)


class Fields(unittest.TestCase):
    SPEC = {1: "number", 2: "pair", 3: "text", 4: "bytes"}

    def take(self, text):
        return ps._take_fields(bytes.fromhex(text), self.SPEC)

    def test_taken(self):
        for text, want in {
            "": {},
            "01 01 05": {1: 5},
            "01 03 808005": {1: 5},
            "09 02 ffff 01 01 05": {1: 5},
            "03 01 ff": {3: "\udcff"},
            "04 00": {4: b""},
            "02 05 03 6b6579 76 02 01 00": {2: [("key", b"v"), ("", b"")]},
        }.items():
            self.assertEqual(self.take(text), want, text)

    def test_refused(self):
        for text in ("01", "01 02 05", "01 02 0505", "01 00", "01 01 05 01 01 05", "01 0a 83ffffffffffffffff7f",
                     "02 02 05 6b", "02 00", "03 00 03 00", "81", "80"):
            self.assertRaises(ProtocolError, self.take, text)

    def test_headers(self):
        h = ps.Headers(1000, [("key", b"v")], 5, [("", b"")], 2)
        self.assertEqual(h.encode().hex(), "01028768" + "0205036b657976" + "030105" + "040100" + "050102")
        again = ps.Headers.parse(h.encode())
        self.assertEqual((again.timeout, again.metadata, again.code, again.details, again.reason, again.size),
                         (1000, [("key", b"v")], 5, [("", b"")], 2, 36 + 32))


class Peer:
    """A Core and what a peer of it, made by hand, says and hears."""

    def __init__(self, extended=True, **options):
        self.core = Core({0: None}, Options(accept_streams=True, **options), clock=lambda: self.now)
        self.now = 0.0
        if extended:
            self.say(ps.HELLO, 2, payload=bytes.fromhex("01 01 01 02 01 03 08 01 02 0a 02 8768"))  # credit 1000
            self.hear()

    def send(self, data):
        self.core.receive(data)
        return self

    def say(self, kind, tag, flags=0, payload=b""):
        return self.send(ps._frame(kind, tag, flags, payload))

    def hear(self):
        packets = []
        while True:
            data = self.core.output()
            if not data:
                return packets
            while data:
                packet, size = decode_packet(data)
                packets.append(packet)
                data = data[size:]

    def frames(self):
        """What is heard of frames: name, tag, flags, payload."""
        return [(ps.FRAME_NAMES[p.type - 1], p.tag, p.flags, p.payload) for p in self.hear()]

    def events(self, what):
        found = [it for name, it in self.core.events if name == what]
        self.core.events = []
        return found


def request(tag, kind=0, payload=b"", channel=0, flags=0):
    return encode_packet(Packet(True, tag, flags, channel, kind + 1, payload))


class Requests(unittest.TestCase):
    def test_a_request_byte_by_byte(self):
        p = Peer(extended=False)
        for octet in request(300, 5, b"payload", flags=1 << 40):
            p.send(bytes((octet,)))
        (r,) = p.events("request")
        self.assertEqual((r.tag, r.type, r.flags, r.payload), (300, 5, 1 << 40, b"payload"))
        p.core.respond(r, (7, b"answer"))
        self.assertEqual(p.hear(), [Packet(False, 300, 15, 0, 0, b"answer")])

    def test_results(self):
        for result, flags, payload in ((None, 1, b""), (5, 11, b""), (True, 3, b""), (b"x", 1, b"x"),
                                       ("ä\ud800", 1, b"\xc3\xa4&#55296;"), ([3, b"y"], 7, b"y"),
                                       (1 << 61, 0, b"flags 2305843009213693952 do not fit into 61 bits")):
            p = Peer(extended=False).send(request(2))
            p.core.respond(p.events("request")[0], result)
            self.assertEqual(p.hear(), [Packet(False, 2, flags, 0, 0, payload)])
        for result in (1.5, (1,), ("x", b""), (1, "x"), {}):
            p = Peer(extended=False).send(request(2))
            self.assertRaises(TypeError, p.core.respond, p.events("request")[0], result)
            self.assertEqual(p.hear(), [Packet(False, 2, 0, 0, 0, b"exception during handler")])

    def test_rejections(self):
        text = lambda p: [(x.tag, x.flags, x.payload.decode()) for x in p.hear()]  # noqa: E731
        p = Peer(extended=False)
        p.core.handlers = {}
        self.assertEqual(text(p.send(request(2))), [(2, 0, "no request handler")])
        self.assertEqual(text(p.send(request(3, channel=4))), [(3, 0, "no request handler")])
        p = Peer(extended=False)
        self.assertEqual(text(p.send(request(2, channel=4))), [(2, 0, "unknown channel 4")])
        self.assertEqual(text(p.say(ps.PING, 3)), [(3, 0, "unknown channel 127")])
        p.send(b"\x03\x01\x02\x00")  # ERQ
        self.assertEqual(text(p.send(request(4))), [(4, 0, "requests no longer allowed")])
        p = Peer(extended=False, max_payload=4)
        self.assertEqual(text(p.send(request(2, payload=b"12345") + request(3, payload=b"1234"))),
                         [(2, 0, "request payload, bytes: 5 is over the limit of 4")])
        self.assertEqual([r.tag for r in p.events("request")], [3])
        p.core.shutdown()
        self.assertEqual(text(p.send(request(4))), [(4, 0, "rejecting request: connection is shutting down")])

    def test_bounds(self):
        p = Peer(extended=False)
        p.send(b"".join(request(tag) for tag in range(2, 2 + ps.MAX_OUTSTANDING)))
        self.assertEqual(len(p.events("request")), ps.MAX_OUTSTANDING)
        p.send(request(1 << 20))
        self.assertEqual(p.hear()[0].payload, b"too many requests: the limit is 16384 unanswered ones")
        for tag in range(1 << 21, (1 << 21) + ps.HARD_REQUESTS):
            p.send(request(tag))
            p.hear()
            if p.core.error is not None:
                break
        self.assertIsInstance(p.core.error, LimitError)
        self.assertEqual(tag, (1 << 21) + ps.HARD_REQUESTS - ps.MAX_OUTSTANDING - 1)

    def test_a_peer_that_reads_no_rejections(self):
        p = Peer(extended=False)
        for tag in range(2, 100000):
            p.send(request(tag, channel=9))
            if p.core.error is not None:
                break
        self.assertIsInstance(p.core.error, LimitError)
        self.assertLess(p.core._control_bytes, ps.MAX_CONTROL + 1)

    def test_a_tag_in_use(self):
        p = Peer(extended=False).send(request(2) + request(2))
        self.assertIsNone(p.core.error)
        self.assertEqual(len(p.events("request")), 1)
        p.send(request(2))
        self.assertIsInstance(p.core.error, ProtocolError)

    def test_bad_input(self):
        for name, data in {
            "a length of 0": b"\x00", "a cut tag": b"\x01\x82", "a cut type": b"\x02\x02\x02",
            "type 0": b"\x04\x00\x02\x00x", "a huge length": encode_uint(1 << 40), "a number over 64 bits": b"\xff" * 11,
            "an endless number": b"\x80" * 300, "text": b"Welcome to the server\n",
            "a response first": encode_packet(Packet(False, 5, 1, payload=b"x")),
        }.items():
            p = Peer(extended=False).send(data)
            p.core.receive_eof()
            self.assertIsInstance(p.core.error, ProtocolError, name)
            self.assertTrue(p.core.error.quote or name == "a response first", name)
        p = Peer(extended=False).send(b"\x05\x02")
        p.core.receive_eof()
        self.assertIsInstance(p.core.error, ProtocolError)

    def test_no_memory_for_a_length(self):
        p = Peer(extended=False)
        head = request(2, payload=b"x" * 100000)[:20].replace(encode_uint(100003), encode_uint(1 << 30), 1)
        p.send(head)
        for _ in range(20):
            p.send(bytes(1 << 20))
        self.assertEqual(p.core._chunks, [])
        self.assertIn(b"over the limit", p.hear()[0].payload)

    def test_over_long_numbers_and_channel_0(self):
        p = Peer(extended=False).send(bytes.fromhex("800c 8002 8003 800080 05 6869".replace("800080 05", "8000 8005")
                                                    .replace("800c", "800a")))
        (r,) = p.events("request")
        self.assertEqual((r.tag, r.channel, r.type, r.payload), (2, 0, 4, b"hi"))
        p.send(bytes.fromhex("8006 8000 8002 8000"))
        self.assertIsInstance(p.core.error, PeerClosedError)

    def test_calls_wait_for_room(self):
        p = Peer(extended=False)
        calls = [p.core.call(0, 0, 0, b"") for _ in range(ps.MAX_OUTSTANDING + 2)]
        self.assertEqual([c.state for c in calls[-3:]], [ps.Call.QUEUED, ps.Call.WAITING, ps.Call.WAITING])
        self.assertEqual(len(p.hear()), ps.MAX_OUTSTANDING)
        p.send(encode_packet(Packet(False, calls[0].tag, 1)))
        self.assertEqual(calls[0].response, (0, b"", []))
        self.assertEqual([x.tag for x in p.hear()], [calls[-2].tag])
        p.core.cancel(calls[-1], CallCancelled())
        self.assertEqual(calls[-1].state, ps.Call.DONE)

    def test_the_end(self):
        p = Peer(extended=False).send(request(2))
        (r,) = p.events("request")
        call = p.core.call(0, 0, 0, b"")
        p.hear()
        p.send(ps.EOF_PACKET + b"what follows belongs to the next connection")
        self.assertIsInstance(call.error, PeerClosedError)
        self.assertEqual(p.hear(), [])  # not before the request is answered
        p.core.respond(r, b"x")
        self.assertEqual(p.hear(), [Packet(False, 2, 1, payload=b"x"), decode_packet(ps.EOF_PACKET)[0]])
        self.assertTrue(p.core.eof_sent)
        self.assertRaises(PeerClosedError, p.core.call, 0, 0, 0, b"")


class Extensions(unittest.TestCase):
    def test_hello(self):
        p = Peer(extended=False).say(ps.HELLO, 9, payload=bytes.fromhex("01 01 01 63 01 00"))
        (answer,) = p.hear()
        self.assertEqual((answer.request, answer.channel, answer.tag, answer.flags), (False, 127, 9, 1))
        ours = ps._take_fields(answer.payload, ps._HELLO_FIELDS)
        self.assertEqual(ours, {1: 1, 2: 3, 4: 16 << 20, 5: 16384, 6: 64 << 20, 7: 65536, 8: 256, 9: 256, 10: 256 << 10})
        p.say(ps.HELLO, 10, payload=b"\x01\x01\x01")
        self.assertRegex(str(p.core.error), "a second HELLO")

    def test_no_hello(self):
        for payload in ("", "01 01 00", "02 01 03", "01"):
            p = Peer(extended=False).say(ps.HELLO, 9, payload=bytes.fromhex(payload))
            self.assertEqual(p.hear()[0].payload, b"unknown channel 127")
            self.assertIsNone(p.core.error)

    def test_a_peer_without(self):
        for answer in (Packet(False, 2, 0, 127, payload=b"unknown channel %d"), Packet(False, 2, 1, 127)):
            p = Peer(extended=False)
            self.assertFalse(p.core.need_extensions())
            self.assertEqual([f[:2] for f in p.frames()], [("HELLO", 2)])
            self.assertFalse(p.core.need_extensions())
            self.assertEqual(p.frames(), [])
            p.send(encode_packet(answer))
            self.assertRaises(NoExtensionsError, p.core.need_extensions)
            self.assertRaises(NoExtensionsError, p.core.call, 0, 0, 0, b"", [("a", b"")])
        p = Peer(extended=False, extensions="required")
        p.send(encode_packet(answer))
        self.assertIsInstance(p.core.error, NoExtensionsError)
        p = Peer(extended=False, extensions="off").say(ps.HELLO, 9, payload=b"\x01\x01\x01")
        self.assertEqual(p.hear()[0].payload, b"unknown channel 127")

    def test_cancel(self):
        p = Peer()
        call = p.core.call(0, 5, 0, b"")
        p.core.cancel(call, CallCancelled())
        self.assertEqual(p.hear(), [])  # it never left
        call = p.core.call(0, 5, 0, b"")
        p.hear()
        p.core.cancel(call, CallCancelled(), 4, 9, "ä" * 100)
        self.assertEqual(p.frames(), [("CANCEL", call.tag, 0, b"\x02\x01\x04\x03\x01\x09\x04\x81\x00" + "ä".encode() * 64)])
        p.send(encode_packet(Packet(False, call.tag, 1)))
        self.assertEqual(p.core.dropped, {"late response": 1})
        p.send(request(7)).say(ps.CANCEL, 7, payload=b"\x02\x01\x03\x04\x01t")
        (r,) = p.events("request")
        self.assertEqual((r.cause.deadline, r.cause.text), (True, "t"))
        p.core.respond(r, b"late")
        self.assertEqual(p.hear(), [])
        self.assertEqual((p.core.incoming, p.core._incoming_bytes), ({}, 0))
        p.say(ps.CANCEL, 7)
        self.assertEqual(p.core.dropped["CANCEL of nothing"], 1)
        p.send(request(8, payload=b"xyz"))
        p.core.respond(p.events("request")[0], b"answer")
        p.say(ps.CANCEL, 8)  # before the answer has left
        self.assertEqual((p.hear(), p.core._incoming_bytes), ([], 0))

    def test_headers(self):
        p = Peer()
        p.say(ps.HEADERS, 5, payload=ps.Headers(1500000, [("a", b"b")]).encode()).send(request(5))
        (r,) = p.events("request")
        self.assertEqual((r.metadata, r.deadline), ([("a", b"b")], 1.5))
        p.now = 2.0
        self.assertTrue(r.cancelled)
        p.core.fail_request(r, RuntimeError())
        self.assertEqual([(x.type, x.tag, x.flags, x.payload) for x in p.hear()],
                         [(ps.HEADERS + 1, 5, 1, b"\x05\x01\x03"), (0, 5, 0, b"exception during handler")])
        p.say(ps.HEADERS, 6, payload=b"\x03\x01\x01").send(request(7))
        self.assertEqual(p.core.dropped, {"HEADERS of nothing": 1})
        p.say(ps.HEADERS, 8, payload=bytes(70000)).send(request(8))
        self.assertIn(b"metadata", p.hear()[1].payload)
        call = p.core.call(0, 0, 0, b"x", [("k", b"v")], deadline=2.5)
        sent = p.hear()
        self.assertEqual(sent[0].payload, ps.Headers(500000, [("k", b"v")]).encode())
        p.say(ps.HEADERS, call.tag, 1, ps.Headers(code=4, details=[("d", b"")], reason=1).encode())
        p.send(encode_packet(Packet(False, call.tag, 0, payload=b"text")))
        self.assertIsInstance(call.error, RemoteError)
        self.assertEqual((call.error.code, call.error.details, call.error.reason, call.error.text),
                         (4, [("d", b"")], 1, "text"))

    def test_pieces(self):
        p = Peer()
        data = os.urandom(100000)
        call = p.core.call(0, 1, 2, data, [("k", b"v")])
        sent = p.hear()
        self.assertEqual([x.type for x in sent], [ps.HEADERS + 1] + [ps.PIECE + 1] * 3 + [2])
        self.assertEqual({x.flags for x in sent[1:4]}, {len(data) << 1})
        self.assertEqual(b"".join(x.payload for x in sent[1:]), data)
        for piece in (data[:30000], data[30000:90000]):
            p.say(ps.PIECE, call.tag, len(data) << 1 | 1, piece)
        p.send(encode_packet(Packet(False, call.tag, 1, payload=data[90000:])))
        self.assertEqual(call.response.payload, data)
        self.assertEqual((p.core._partials, p.core._partial_bytes), ({}, 0))
        for bad in (lambda: p.say(ps.PIECE, 9, 10 << 1), lambda: p.say(ps.PIECE, 9, 2 << 1, b"xxx"),
                    lambda: p.say(ps.PIECE, 9, 9 << 1, b"x").say(ps.PIECE, 9, 8 << 1, b"x"),
                    lambda: p.say(ps.PIECE, 9, 9 << 1, b"x").send(request(9, payload=b"x"))):
            p = Peer()
            bad()
            self.assertIsInstance(p.core.error, ProtocolError)
        p = Peer()
        for tag in range(2, 67):
            p.say(ps.PIECE, tag, 9 << 1, b"x")
        self.assertIsInstance(p.core.error, LimitError)
        p = Peer()
        for tag in range(2, 8):
            p.say(ps.PIECE, tag, (15 << 20) << 1, b"x")
        self.assertIsInstance(p.core.error, LimitError)

    def test_ping_and_go_away(self):
        p = Peer().say(ps.PING, 77)
        self.assertEqual(p.hear(), [Packet(False, 77, 1, 127)])
        ping = p.core.ping()
        tag = p.hear()[0].tag
        p.now = 0.25
        p.send(encode_packet(Packet(False, tag, 1, 127)))
        self.assertEqual(ping.trip, 0.25)
        p.core.go_away(3, "bye")
        self.assertEqual(p.frames(), [("GOAWAY", 0, 0, b"\x01\x01\x03\x02\x03bye")])
        p.send(request(9))
        self.assertEqual([x.payload for x in p.hear()], [b"\x05\x01\x02", b"rejecting request: going away"])
        p.say(ps.GOAWAY, 0, payload=b"\x01\x01\x05\x02\x01x")
        with self.assertRaises(ps.GoingAwayError) as raised:
            p.core.call(0, 0, 0, b"")
        self.assertEqual((raised.exception.code, raised.exception.text), (5, "x"))
        p.core.call(0, 0, 0, b"", in_handler=True)


class StreamStates(unittest.TestCase):
    """The state table of chapter 12.8 of the protocol: each state by each frame."""

    FRAMES = {
        "DATA": (ps.DATA, 0, b"x"), "DATA over credit": (ps.DATA, 0, b"x" * 65), "DATA empty": (ps.DATA, 0, b""),
        "END": (ps.END, 0, b""), "END payload": (ps.END, 0, b"x"), "STOP": (ps.STOP, 0, b"\x01\x01\x05"),
        "RESET": (ps.RESET, 0, b"\x01\x01\x06"), "CREDIT": (ps.CREDIT, 10, b""), "CREDIT 0": (ps.CREDIT, 0, b""),
        "CREDIT too much": (ps.CREDIT, 1 << 41, b""), "CREDIT payload": (ps.CREDIT, 10, b"x"),
        "OPEN again": (ps.OPEN, 0, b""),
    }

    def stream(self, recv, send):
        """A peer with its stream 1 in a state, and that stream, or None where it is over or unused."""
        p = Peer(stream_window=64)
        if recv == "unused":
            return p, None
        p.say(ps.OPEN, 1, payload=b"\x03\x01\x64")
        (s,) = p.events("opened")
        core = p.core
        self.assertIs(core.accept_stream(), s)
        if send == "ended" and recv != "reset":
            core.close_stream_writing(s)
        if recv == "stopped":
            core.close_stream_reading(s)
        elif recv == "reset":
            core.reset_stream(s)
        elif recv in ("ended", "over"):
            p.say(ps.END, 1)
        p.hear()
        self.assertIsNone(core.error)
        want = {"over": ("ended", "ended")}.get(recv, (recv, send))
        self.assertEqual((s.recv, s.send), want)
        return p, s

    def cell(self, recv, send, frame):
        p, s = self.stream(recv, send)
        kind, flags, payload = self.FRAMES[frame]
        p.say(kind, 1, flags, payload)
        if p.core.error is not None:
            self.assertIsInstance(p.core.error, ProtocolError)
            self.assertIn("stream 1", str(p.core.error))
            return "error"
        sent = [f[0] for f in p.frames()]
        state = "unused" if s is None else "over" if s.over else s.recv
        self.assertEqual((False, 1) in p.core.streams, s is not None and not s.over)
        return " ".join([state] + sent)

    def test_table(self):
        errors = dict.fromkeys(("DATA over credit", "DATA empty", "END payload", "CREDIT payload", "OPEN again"), "error")
        open_ = {"DATA": "open", "END": "ended", "STOP": "open END", "RESET": "over RESET", "CREDIT": "open",
                 "CREDIT 0": "error", "CREDIT too much": "error"}
        table = {
            ("unused", "sending"): dict(dict.fromkeys(self.FRAMES, "error"), **{"OPEN again": "unused"}),
            ("open", "sending"): open_,
            ("open", "ended"): {"DATA": "open", "END": "over", "STOP": "open", "RESET": "over", "CREDIT": "open",
                                "CREDIT 0": "open", "CREDIT too much": "open"},
            ("stopped", "sending"): dict(open_, DATA="stopped", STOP="stopped END", CREDIT="stopped"),
            ("stopped", "ended"): {"DATA": "stopped", "END": "over", "STOP": "stopped", "RESET": "over",
                                   "CREDIT": "stopped", "CREDIT 0": "stopped", "CREDIT too much": "stopped"},
            ("reset", "ended"): {"DATA": "reset", "END": "over", "STOP": "reset", "RESET": "over", "CREDIT": "reset",
                                 "CREDIT 0": "reset", "CREDIT too much": "reset"},
            ("ended", "sending"): {"DATA": "error", "END": "error", "STOP": "over END", "RESET": "over RESET",
                                   "CREDIT": "ended", "CREDIT 0": "error", "CREDIT too much": "error"},
            ("over", "ended"): {"DATA": "error", "END": "error", "STOP": "over", "RESET": "over", "CREDIT": "over",
                                "CREDIT 0": "over", "CREDIT too much": "over"},
        }
        for (recv, send), row in table.items():
            for frame in self.FRAMES:
                want = row.get(frame, errors.get(frame))
                if recv == "unused" and frame == "OPEN again":
                    continue  # it opens the stream
                with self.subTest(recv=recv, send=send, frame=frame):
                    self.assertEqual(self.cell(recv, send, frame), want)

    def test_numbers(self):
        for tag, flags in ((2, 0), (0, 0), (1, 1)):
            p = Peer().say(ps.OPEN, tag, flags)
            self.assertIsInstance(p.core.error, ProtocolError)
        p = Peer(max_streams=2)
        for tag in (1, 2, 3):
            p.say(ps.OPEN, tag)
        self.assertIsInstance(p.core.error, LimitError)

    def test_backlog(self):
        p = Peer(stream_backlog=1).say(ps.OPEN, 1).say(ps.OPEN, 2)
        self.assertEqual(p.frames(), [("RESET", 2, 1, b"\x02\x01\x01\x03\x24too many streams wait to be accepted")])
        p.say(ps.RESET, 2).say(ps.RESET, 1)
        self.assertEqual((p.frames(), p.core.backlog), ([("RESET", 1, 1, b"")], {}))
        for tag in range(3, 1000):  # refused and ended streams leave nothing behind
            p.say(ps.OPEN, tag).say(ps.RESET, tag)
            p.hear()
        self.assertIsNone(p.core.error)
        self.assertEqual((p.core.streams, p.core._open[False]), ({}, 0))

    def test_our_streams(self):
        p = Peer()
        s = p.core.open_stream("name", [("k", b"v")])
        self.assertEqual(p.core.write_stream(s, b"x" * 3000), 3000)
        open_, data = p.frames()
        self.assertEqual(open_[:3], ("OPEN", 1, 0))
        self.assertEqual(ps._take_fields(open_[3], ps._OPEN_FIELDS), {1: "name", 2: [("k", b"v")], 3: 256 << 10})
        self.assertEqual((data[:3], len(data[3])), (("DATA", 1, 0), 1000))  # the peer's credit
        p.core.close_stream_writing(s)
        self.assertEqual(p.frames(), [])
        p.say(ps.CREDIT, 1, 5000 << 1 | 1)
        self.assertEqual([(f[0], len(f[3])) for f in p.frames()], [("DATA", 2000), ("END", 0)])
        p.core.open_stream("second")
        self.assertIsNone(p.core.open_stream("the peer takes two"))

    def test_credit_in_lumps(self):
        p = Peer(stream_window=1000, max_stream_window=2000).say(ps.OPEN, 1)
        s = p.core.accept_stream()
        p.say(ps.DATA, 1, 0, b"x" * 1000)
        self.assertEqual(len(p.core.read_stream(s, 200)), 200)
        self.assertEqual(p.frames(), [])
        p.core.read_stream(s, 100)
        self.assertEqual(p.frames(), [("CREDIT", 1, 300 << 1 | 1, b"")])
        p.core.read_stream(s, 10000)
        self.assertEqual(p.frames(), [("CREDIT", 1, 1700 << 1 | 1, b"")])  # the sender had to stop: the window grows
        p.say(ps.DATA, 1, 0, b"x" * 2001)
        self.assertIsInstance(p.core.error, ProtocolError)

    def test_a_model(self):
        """Two Cores with streams and calls at random, in all orders, come to a good end."""
        for seed in range(30):
            rng = random.Random(seed)
            ends = [Core({0: None}, Options(accept_streams=True, stream_window=5000, extensions="offer")) for _ in range(2)]
            wire = [b"", b""]
            sent, got, streams, calls = {}, {}, [[], []], []

            def step(i):
                a = ends[i]
                wire[i] += a.output(rng.choice((1, 100, 10000)))
                cut = rng.randrange(len(wire[1 - i]) + 1)
                data, wire[1 - i] = wire[1 - i][:cut], wire[1 - i][cut:]
                a.receive(data)
                for what, it in a.events:
                    if what == "request":
                        a.respond(it, (it.flags, it.payload))
                a.events = []
                for s in iter(a.accept_stream, None):
                    streams[i].append(s)
                    got[i, s.number] = b""

            for _ in range(600):
                i = rng.randrange(2)
                a = ends[i]
                step(i)
                what = rng.randrange(6)
                if what == 0 and a.extended and not a._waiting:
                    s = a.open_stream("s")
                    if s is not None:
                        streams[i].append(s)
                        sent[1 - i, s.number] = b""
                elif what == 1:
                    calls.append((a.call(0, 1, 5, bytes(rng.randrange(80000))), a))
                elif what == 2 and calls:
                    call, end = rng.choice(calls)
                    end.cancel(call, CallCancelled())
                elif streams[i]:
                    s = rng.choice(streams[i])
                    if what == 3 and s.send == s.SENDING and s.ours:
                        data = rng.randbytes(rng.randrange(9000))
                        n = a.write_stream(s, data)
                        sent[1 - i, s.number] += data[:n]
                    elif what == 4 and not s.ours and s.recv != s.RESET and s.read_error is None:
                        got[i, s.number] += a.read_stream(s, 3000) or b""
                    elif rng.random() < 0.05:
                        if s.ours:
                            a.close_stream_writing(s)
                        else:
                            a.reset_stream(s)
            for _ in range(5000):
                for i, a in enumerate(ends):
                    step(i)
                    for s in streams[i]:
                        a.close_stream_writing(s)
                        if s.read_error is None and s.recv != s.RESET:
                            data = a.read_stream(s, 1 << 20)
                            if data and not s.ours:
                                got[i, s.number] += data
                if all(a.is_idle() and not a.has_output() for a in ends) and wire == [b"", b""]:
                    break
            for i, a in enumerate(ends):
                self.assertIsNone(a.error, seed)
                self.assertTrue(a.is_idle(), (seed, a.streams))
                self.assertEqual((a._incoming_bytes, a._outgoing_bytes, a._answers, a._partials, a._open[True]),
                                 (0, 0, {}, {}, 0))
                for s in streams[i]:
                    if not s.ours and s.read_error is None:
                        self.assertEqual(got[i, s.number], sent[i, s.number])


def pair(handler=None, other=None, **options):
    a, b = socket.socketpair()
    return Connection(a, None, handler, **options), Connection(b, None, other, **options)


class Threads(unittest.TestCase):
    """Connection, over socket pairs and pipes."""

    def setUp(self):
        self.before = threading.active_count(), len(os.listdir("/proc/self/fd"))

    def tearDown(self):
        until = time.monotonic() + LIMIT
        while (threading.active_count(), len(os.listdir("/proc/self/fd"))) != self.before:
            self.assertLess(time.monotonic(), until, "%s left" % threading.enumerate())
            time.sleep(0.005)

    def test_calls_both_ways(self):
        def back(request):
            return request.connection.call(1, request.payload + b"!", timeout=LIMIT).payload

        a, b = pair(lambda request: request.payload + b"?", back)
        with b, a:
            self.assertEqual(a.call(7, "x", timeout=LIMIT).text, "x!?")
            many = [a.submit(7, b"%d" % i) for i in range(300)]
            self.assertEqual([m.result(LIMIT).payload for m in many], [b"%d!?" % i for i in range(300)])

    def test_pipes_and_files(self):
        for wrap in (lambda fd, mode: fd, lambda fd, mode: os.fdopen(fd, mode, 0)):
            r1, w1 = os.pipe()
            r2, w2 = os.pipe()
            a = Connection(wrap(r1, "rb"), wrap(w2, "wb"), lambda request: "a")
            b = Connection(wrap(r2, "rb"), wrap(w1, "wb"), lambda request: "b")
            self.assertEqual((a.call(0, timeout=LIMIT).text, b.call(0, bytes(1 << 20), timeout=LIMIT).text), ("b", "a"))
            a.close()
            b.wait(LIMIT)
            b.close()
            self.assertIsInstance(b.error, PeerClosedError)

    def test_a_blocking_descriptor(self):
        """Where a pipe cannot be opened anew, nothing but what fits is written to it."""
        private, ps._private = ps._private, lambda fd, flags: fd
        try:
            r1, w1 = os.pipe()
            r2, w2 = os.pipe()
            a, b = Connection(r1, w2), Connection(r2, w1, lambda request: request.payload)
            data = os.urandom(1 << 20)
            self.assertEqual(a.call(0, data, timeout=LIMIT).payload, data)
            a.close()
            b.close()
        finally:
            ps._private = private

    def test_errors(self):
        errors = []

        def fail(request):
            if request.type == 1:
                raise HandlerError("told", 5, {"k": b"v"})
            if request.type == 2:
                raise SystemExit(3)
            return object()

        a, b = pair(None, fail, on_handler_error=lambda request, error: errors.append(type(error)))
        with b, a:
            for kind, text, code in ((1, "told", 0), (2, "exception during handler", 0), (3, "exception during handler", 0)):
                with self.assertRaises(RemoteError) as raised:
                    a.call(kind, timeout=LIMIT)
                self.assertEqual((raised.exception.text, raised.exception.code), (text, code))
            a.ping(LIMIT)
            with self.assertRaises(RemoteError) as raised:
                a.call(1, timeout=LIMIT)
            self.assertEqual((raised.exception.code, raised.exception.details), (5, [("k", b"v")]))
        self.assertEqual(errors, [SystemExit, TypeError])

    def test_close_fails_what_waits(self):
        a, b = pair(None, lambda request: request.wait_cancelled(LIMIT), accept_streams=True)
        call = a.submit(0)
        stream = a.open_stream("s", timeout=LIMIT)
        theirs = b.accept_stream(LIMIT)
        failed = []

        def read(s):
            try:
                s.read()
            except (ClosedError, PeerClosedError, StreamError) as error:
                failed.append(type(error))

        readers = [threading.Thread(target=read, args=(s,)) for s in (stream, theirs)]
        for reader in readers:
            reader.start()
        began = time.monotonic()
        a.close()
        self.assertLess(time.monotonic() - began, 5)
        self.assertRaises(ClosedError, call.result, LIMIT)
        for reader in readers:
            reader.join(LIMIT)
        self.assertEqual(sorted(e.__name__ for e in failed), ["ClosedError", "StreamError"])
        self.assertRaises(ClosedError, a.call, 0)
        b.wait(LIMIT)
        b.close()

    def test_a_peer_that_never_reads(self):
        a, b = socket.socketpair()
        c = Connection(a, None, close_timeout=0.2, drain_timeout=0.2)
        self.assertRaises(CallTimeout, c.call, 0, bytes(8 << 20), timeout=0.1)
        began = time.monotonic()
        c.close()
        self.assertLess(time.monotonic() - began, 5)
        b.close()

    def test_a_peer_that_closes_its_input(self):
        r1, w1 = os.pipe()
        r2, w2 = os.pipe()
        c = Connection(r1, w2)
        os.close(r2)
        self.assertRaises(ps.EndedError, c.call, 0, b"", timeout=LIMIT)
        c.close()
        self.assertIsInstance(c.error, ps.PeerGoneError)
        os.close(w1)

    def test_garbage(self):
        a, b = socket.socketpair()
        c = Connection(a, None, lambda request: b"")
        call = c.submit(0)
        b.sendall(b"Traceback (most recent call last):\n")
        b.shutdown(socket.SHUT_WR)
        self.assertRaises(ProtocolError, call.result, LIMIT)
        with self.assertRaises(ProtocolError) as raised:
            c.wait(LIMIT)
        self.assertTrue(raised.exception.quote.startswith(b"Traceback"))
        c.close()
        b.close()

    def test_files_that_end(self):
        c = Connection(io.BytesIO(request(2) + b"\x05"), io.BytesIO(), lambda request: b"")
        self.assertRaises(ProtocolError, c.wait, LIMIT)
        c.close()

    def test_limits(self):
        a, b = pair(None, lambda request: b"x" * 100, max_payload=60)
        with b, a:
            self.assertRaises(LimitError, a.call, 0, b"x" * 61)
            with self.assertRaises(RemoteError) as raised:
                a.call(0, timeout=LIMIT)
            self.assertIn("over the limit of 60", raised.exception.text)
            self.assertRaises(ValueError, a.call, -1)
            self.assertRaises(ValueError, a.call, 0, channel=127)
            self.assertRaises(ValueError, a.call, 0, flags=1 << 62)

    def test_open_and_cancel(self):
        """A flood of calls that are cancelled at once, against slow handlers: no more of those than allowed."""
        lock, running, most = threading.Lock(), [0], [0]

        def slow(request):
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            request.wait_cancelled(0.01)
            with lock:
                running[0] -= 1

        a, b = pair(None, slow, max_handlers=8)
        with b, a:
            a.ping(LIMIT)
            for _ in range(5000):
                a.submit(0).cancel()
            a.call(0, timeout=LIMIT)
        self.assertLessEqual(most[0], 8)
        self.assertEqual((b._core.incoming, b._core._incoming_bytes, a._core.outgoing), ({}, 0, {}))

    def test_shutdown_finishes(self):
        a, b = pair(None, lambda request: (time.sleep(0.2), b"done")[1])
        call = a.submit(0)
        a.shutdown(LIMIT)
        self.assertEqual(call.result(0).payload, b"done")
        b.shutdown(LIMIT)

    def test_close_in_a_handler(self):
        a, b = pair(None, lambda request: request.connection.close())
        self.assertEqual(a.call(0, timeout=LIMIT).payload, b"")
        a.close()
        b.wait(LIMIT)
        b.close()


class Asyncio(unittest.TestCase):
    def run_async(self, coroutine):
        fds = len(os.listdir("/proc/self/fd"))
        asyncio.run(asyncio.wait_for(coroutine, LIMIT * 2))
        self.assertEqual(len(os.listdir("/proc/self/fd")), fds)

    def test_streams_of_asyncio(self):
        async def main():
            accepted = asyncio.Queue()
            server = await asyncio.start_unix_server(lambda r, w: accepted.put_nowait((r, w)), sock=listener)
            a = await ps.AsyncConnection.open(*await asyncio.open_unix_connection(path))
            b = await ps.AsyncConnection.open(*await accepted.get(), lambda request: request.payload)
            data = os.urandom(3 << 20)
            self.assertEqual((await a.call(1, data)).payload, data)
            await a.close()
            await b.wait()
            await b.close()
            server.close()

        path = "\0packetstream-test-%d" % os.getpid()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        asyncio.run(asyncio.wait_for(main(), LIMIT))

    def test_both_ways(self):
        async def main():
            async def back(request):
                return (await request.connection.call(1, request.payload + b"!")).payload

            x, y = socket.socketpair()
            a = await ps.AsyncConnection.open(x, None, lambda request: request.payload + b"?")
            b = await ps.AsyncConnection.open(y, None, back, max_handlers=4)
            answers = await asyncio.gather(*(a.call(7, b"%d" % i) for i in range(1000)))
            self.assertEqual([r.payload for r in answers], [b"%d!?" % i for i in range(1000)])
            await a.shutdown()
            await b.wait()
            await b.close()

        self.run_async(main())

    def test_close_fails_what_waits(self):
        async def main():
            x, y = socket.socketpair()
            a = await ps.AsyncConnection.open(x, None)
            b = await ps.AsyncConnection.open(y, None, lambda request: asyncio.sleep(LIMIT), accept_streams=True)
            call = asyncio.ensure_future(a.call(0))
            stream = await a.open_stream("s")
            reading = asyncio.ensure_future(stream.read())
            theirs = await b.accept_stream()
            theirs_reading = asyncio.ensure_future(theirs.read())
            await asyncio.sleep(0)
            began = time.monotonic()
            await a.close()
            self.assertLess(time.monotonic() - began, 5)
            results = await asyncio.gather(call, reading, theirs_reading, return_exceptions=True)
            self.assertEqual([type(r) for r in results], [ClosedError, ClosedError, StreamError])
            await b.wait()
            await b.close()

        self.run_async(main())

    def test_a_peer_that_never_reads(self):
        async def main():
            x, y = socket.socketpair()
            c = await ps.AsyncConnection.open(x, None, close_timeout=0.2, drain_timeout=0.2)
            with self.assertRaises(CallTimeout):
                await c.call(0, bytes(8 << 20), timeout=0.1)
            began = time.monotonic()
            await c.close()
            self.assertLess(time.monotonic() - began, 5)
            y.close()

        self.run_async(main())

    def test_garbage(self):
        async def main():
            x, y = socket.socketpair()
            c = await ps.AsyncConnection.open(x, None)
            call = asyncio.ensure_future(c.call(0))
            await asyncio.sleep(0)
            y.sendall(b"Traceback (most recent call last):\n")
            y.shutdown(socket.SHUT_WR)
            for waiting in (call, c.wait()):
                with self.assertRaises(ProtocolError):
                    await waiting
            await c.close()
            y.close()

        self.run_async(main())


if __name__ == "__main__":
    unittest.main()
