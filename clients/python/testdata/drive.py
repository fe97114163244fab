#!/usr/bin/env python3
"""Start a program that serves the test service, and check its every answer with packetstream.py. One line a check, and
exit status 0 if all were right.

    drive.py [--face threads|asyncio] [--mode seq|pipelined|duplex] [--requests N] [--extensions MODE] [--plain] -- CMD

--plain leaves out what needs extensions. The service is called back (type 7), so it has to ask too.
"""

import argparse
import asyncio
import os
import sys
import threading
import time
from collections import deque

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import packetstream  # noqa: E402  (the path has to be set first)
from packetstream import encode_uint  # noqa: E402

from service import Service, huge  # noqa: E402

KINDS = [
    ("none", 0, 5, b"ignored", (True, 0, b"")),
    ("flags", 1, 0x1234, b"ignored", (True, 0x1234, b"")),
    ("flags 2**40", 1, 2**40, b"", (True, 2**40, b"")),
    ("bytes", 2, 7, b"hello\0\xff", (True, 0, b"hello\0\xff")),
    ("text", 3, 7, "naïve 漢字 \U0001f600".encode(), (True, 0, "naïve 漢字 \U0001f600".encode())),
    ("text with a lone surrogate", 3, 0, b"a\xed\xa0\x80b\xed\xbf\xbfc", (True, 0, b"a&#55296;b&#57343;c")),
    ("text that is none", 3, 0, b"\xff\xfe", (False, 0, b"exception during handler")),
    ("pair", 4, 99, b"xyz", (True, 99, b"xyz")),
    ("raise", 5, 3, b"xyz", (False, 0, b"exception during handler")),
    ("sleep", 6, 2, b"20:tail", (True, 2, b"20:tail")),
    ("back to none", 7, 0, encode_uint(0), (True, 0, b"")),
    ("back to pair", 7, 77, encode_uint(4) + b"abc", (True, 77, b"abc")),
    ("back to raise", 7, 0, encode_uint(5), (False, 0, b"exception during handler")),
    ("back to back to pair", 7, 6, encode_uint(7) + encode_uint(4) + b"deep", (True, 6, b"deep")),
    ("huge 0", 8, 0, b"0", (True, 0, b"")),
    ("huge 70000", 8, 0, b"70000", (True, 0, huge(70000))),
    ("huge 3000000", 8, 0, b"3000000", (True, 0, huge(3000000))),
    ("bytes 1 MiB", 2, 0, huge(1 << 20), (True, 0, huge(1 << 20))),
    ("unknown", 1000, 0, b"", (False, 0, b"exception during handler")),
]


class Report:
    def __init__(self):
        self.failures = 0

    def check(self, label, got, want):
        if got == want:
            print("ok  ", label)
        else:
            self.failures += 1
            print("FAIL", label, "got", repr(got)[:200], "want", repr(want)[:200])


def outcome(answer):
    """An answer or RemoteError as a tuple."""
    if isinstance(answer, packetstream.RemoteError):
        return False, answer.flags, answer.payload
    return True, answer.flags, answer.payload


def bulk(i, mode):
    body = b"%d:%s" % (i, huge(i % 700))
    request = (7, encode_uint(4) + body) if mode == "duplex" else (4, body)
    return request + ((True, i, body),)


def drive_threads(options, report):
    service = Service()

    def handler(request):
        if request.type == 7:
            kind, at = packetstream.decode_uint(request.payload)
            answer = request.connection.call(kind, request.payload[at:], flags=request.flags)
            return answer.flags, answer.payload
        return service.answer(request)

    connection = packetstream.Connection.spawn(options.command, handler, extensions=options.extensions,
                                               on_handler_error=lambda *_: None)
    with connection:
        for label, kind, flags, payload, want in KINDS:
            try:
                answer = connection.call(kind, payload, flags=flags, timeout=30)
            except packetstream.RemoteError as error:
                answer = error
            report.check(label, outcome(answer), want)
        slow, quick = connection.submit(6, b"1000"), connection.submit(2, b"q")
        report.check("out of order, quick", quick.result(20).payload, b"q")
        report.check("out of order, slow is not done", slow.done(), False)
        report.check("out of order, slow", slow.result(20).payload, b"1000")
        gone = connection.submit(6, b"200")
        report.check("cancel", gone.cancel(), True)
        try:
            connection.call(6, b"1000", timeout=0.05)
            report.check("timeout", "an answer", "none")
        except packetstream.CallTimeout:
            report.check("timeout", True, True)
        pending, window, bad = deque(), 1 if options.mode == "seq" else options.window, 0
        began = time.monotonic()
        for i in range(options.requests):
            if len(pending) >= window:
                result, want = pending.popleft()
                bad += outcome(result.result(30)) != want
            kind, payload, want = bulk(i, options.mode)
            if window == 1:
                bad += outcome(connection.call(kind, payload, flags=i)) != want
            else:
                pending.append((connection.submit(kind, payload, flags=i), want))
        for result, want in pending:
            bad += outcome(result.result(30)) != want
        took = time.monotonic() - began
        report.check("%s of %d, wrong answers" % (options.mode, options.requests), bad, 0)
        print("#    %.0f requests/s" % (options.requests / took))
        if not options.plain:
            extended_threads(connection, report)
    report.check("exit status", connection.process.returncode, 0)
    report.check("end", type(connection.error), packetstream.ClosedError)
    report.check("threads", threading.active_count(), 1)


def extended_threads(connection, report):
    report.check("ping", 0 <= connection.ping(20) < 20, True)
    pairs = [("k", b"v"), ("k", b"\xff"), ("", b"")]
    answer = connection.call(21, b"m", flags=3, metadata=pairs)
    report.check("metadata", (answer.flags, answer.payload, answer.metadata), (3, b"m", pairs))
    try:
        connection.call(20, b"no such thing")
    except packetstream.RemoteError as error:
        report.check("error", (error.text, error.code, error.details),
                     ("no such thing", 7, [("first", b"1"), ("second", b"\x00\xff")]))
    left = int(connection.call(22, timeout=5).text)
    report.check("deadline", 4000 < left <= 5000, True)
    gone = connection.submit(23)
    until = time.monotonic() + 20
    while connection.call(28).text != "1" and time.monotonic() < until:
        time.sleep(0.005)
    report.check("cancel reaches the handler", gone.cancel("not wanted", 9), True)
    try:
        connection.call(23, timeout=0.1)
    except packetstream.CallTimeout:
        pass
    wait_for_cancels(lambda: connection.call(24).text, report)
    with connection.open_stream("echo", [("a", b"b")]) as stream:
        data = huge(3 << 20)
        writer = threading.Thread(target=lambda: (stream.write(data), stream.close_write()))
        writer.start()
        report.check("stream", stream.readall() == data, True)
        writer.join()
    with connection.open_stream("slow") as stream:
        stream.write(huge(2 << 20))
        stream.close_write()
        report.check("slow reader", stream.readall(), b"%d" % (2 << 20))
    with connection.open_stream("source", [("size", b"5000000")]) as stream:
        got = 0
        for chunk in iter(lambda: stream.read(10000), b""):
            got += len(chunk)
        report.check("source", got, 5000000)
    with connection.open_stream("messages") as stream:
        for message in (b"one", b"", huge(100000)):
            stream.send_message(message)
            report.check("message of %d" % len(message), stream.recv_message() == message + b"!", True)
    stream = connection.open_stream("reset")
    stream.write(b"x")
    code, _, *how = failure(stream.readall)
    report.check("reset", (code, how), (5, [False, False]))
    stream = connection.open_stream("stop")
    stream.write(b"x")
    report.check("stop, the other direction", stream.readall(), b"still")
    report.check("stop", failure(lambda: [stream.write(huge(100000)) for _ in range(100)])[2:], (True, False))
    stream = connection.open_stream("nobody takes this")
    report.check("refused", failure(stream.readall)[2:], (False, True))


def failure(operation):
    try:
        return operation()
    except packetstream.StreamError as error:
        return error.code, error.text, error.stopped, error.refused


def wait_for_cancels(get, report):
    want = [{"code": 0, "deadline": True, "text": ""}, {"code": 9, "deadline": False, "text": "not wanted"}]
    until = time.monotonic() + 10
    while True:
        got = sorted(eval(get(), {"true": True, "false": False}), key=lambda c: c["code"])
        if got == want or time.monotonic() > until:
            break
    report.check("cancellations that the handlers saw", got, want)


async def drive_asyncio(options, report):
    service = Service()

    async def handler(request):
        if request.type == 7:
            kind, at = packetstream.decode_uint(request.payload)
            answer = await request.connection.call(kind, request.payload[at:], flags=request.flags)
            return answer.flags, answer.payload
        return service.answer(request)

    async def ask(*args, **keywords):
        try:
            return await connection.call(*args, **keywords)
        except packetstream.RemoteError as error:
            return error

    connection = await packetstream.AsyncConnection.spawn(options.command, handler, extensions=options.extensions,
                                                          on_handler_error=lambda *_: None)
    async with connection:
        for label, kind, flags, payload, want in KINDS:
            report.check(label, outcome(await ask(kind, payload, flags=flags, timeout=30)), want)
        slow = asyncio.ensure_future(connection.call(6, b"1000"))
        report.check("out of order, quick", (await connection.call(2, b"q")).payload, b"q")
        report.check("out of order, slow is not done", slow.done(), False)
        report.check("out of order, slow", (await slow).payload, b"1000")
        gone = asyncio.ensure_future(connection.call(6, b"200"))
        await asyncio.sleep(0)
        report.check("cancel", gone.cancel(), True)
        try:
            await connection.call(6, b"1000", timeout=0.05)
            report.check("timeout", "an answer", "none")
        except packetstream.CallTimeout:
            report.check("timeout", True, True)
        bad, numbers = 0, iter(range(options.requests))

        async def worker():
            nonlocal bad
            for i in numbers:
                kind, payload, want = bulk(i, options.mode)
                bad += outcome(await ask(kind, payload, flags=i)) != want

        began = time.monotonic()
        await asyncio.gather(*(worker() for _ in range(1 if options.mode == "seq" else options.window)))
        took = time.monotonic() - began
        report.check("%s of %d, wrong answers" % (options.mode, options.requests), bad, 0)
        print("#    %.0f requests/s" % (options.requests / took))
        if not options.plain:
            await extended_asyncio(connection, report)
    report.check("exit status", connection.process.returncode, 0)
    report.check("end", type(connection.error), packetstream.ClosedError)


async def extended_asyncio(connection, report):
    report.check("ping", 0 <= await connection.ping(20) < 20, True)
    pairs = [("k", b"v"), ("k", b"\xff"), ("", b"")]
    answer = await connection.call(21, b"m", flags=3, metadata=pairs)
    report.check("metadata", (answer.flags, answer.payload, answer.metadata), (3, b"m", pairs))
    try:
        await connection.call(20, b"no such thing")
    except packetstream.RemoteError as error:
        report.check("error", (error.text, error.code, error.details),
                     ("no such thing", 7, [("first", b"1"), ("second", b"\x00\xff")]))
    left = int((await connection.call(22, timeout=5)).text)
    report.check("deadline", 4000 < left <= 5000, True)
    gone = asyncio.ensure_future(connection.call(23))
    until = time.monotonic() + 20
    while (await connection.call(28)).text != "1" and time.monotonic() < until:
        await asyncio.sleep(0.005)
    gone.cancel("not wanted")
    try:
        await gone
    except asyncio.CancelledError:
        report.check("cancel", True, True)
    try:
        await connection.call(23, timeout=0.1)
    except packetstream.CallTimeout:
        pass
    until, got = time.monotonic() + 10, ""
    want = [{"code": 0, "deadline": True, "text": ""}, {"code": 0, "deadline": False, "text": "not wanted"}]
    while got != want and time.monotonic() < until:
        got = eval((await connection.call(24)).text, {"true": True, "false": False})
        got.sort(key=lambda c: c["text"])
    report.check("cancellations that the handlers saw", got, want)
    async with await connection.open_stream("echo", [("a", b"b")]) as stream:
        data = huge(3 << 20)

        async def write():
            await stream.write(data)
            stream.close_write()

        writer = asyncio.ensure_future(write())
        report.check("stream", await stream.readall() == data, True)
        await writer
    async with await connection.open_stream("slow") as stream:
        await stream.write(huge(2 << 20))
        stream.close_write()
        report.check("slow reader", await stream.readall(), b"%d" % (2 << 20))
    async with await connection.open_stream("source", [("size", b"5000000")]) as stream:
        report.check("source", len(await stream.readall()), 5000000)
    async with await connection.open_stream("messages") as stream:
        for message in (b"one", b"", huge(100000)):
            await stream.send_message(message)
            report.check("message of %d" % len(message), await stream.recv_message() == message + b"!", True)
    stream = await connection.open_stream("reset")
    await stream.write(b"x")
    code, _, *how = await async_failure(stream.readall())
    report.check("reset", (code, how), (5, [False, False]))
    stream = await connection.open_stream("stop")
    await stream.write(b"x")
    report.check("stop, the other direction", await stream.readall(), b"still")

    async def much():
        for _ in range(100):
            await stream.write(huge(100000))

    report.check("stop", (await async_failure(much()))[2:], (True, False))
    stream = await connection.open_stream("nobody takes this")
    report.check("refused", (await async_failure(stream.readall()))[2:], (False, True))


async def async_failure(operation):
    try:
        return await operation
    except packetstream.StreamError as error:
        return error.code, error.text, error.stopped, error.refused


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--face", choices=("threads", "asyncio"), default="threads")
    parser.add_argument("--mode", choices=("seq", "pipelined", "duplex"), default="pipelined")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--extensions", default="lazy")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    report = Report()
    if options.face == "threads":
        drive_threads(options, report)
    else:
        asyncio.run(drive_asyncio(options, report))
    print("%d failed" % report.failures)
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
