#!/usr/bin/env python3
"""Serve the test service with packetstream.py on standard input and output: request types 0 to 8 as the peers of
testdata/packetstream/peers have them, more that need extensions, and streams.

    service.py [--face threads|asyncio] [--extensions MODE] [--status]
"""

import argparse
import asyncio
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import packetstream  # noqa: E402  (the path has to be set first)
from packetstream import HandlerError, Reply, decode_uint  # noqa: E402

NONE, FLAGS, BYTES, TEXT, PAIR, RAISE, SLEEP, BACK, HUGE = range(9)
ERROR = 20  # fails with code 7, the payload as text, and details
METADATA = 21  # answers the request's metadata as metadata, and its payload
DEADLINE = 22  # answers the milliseconds left as text
UNTIL_CANCELLED = 23  # waits until it is cancelled
CANCELS = 24  # answers JSON: the cancellations that UNTIL_CANCELLED has seen
STATUS = 25  # answers JSON about this process
PRINT = 26  # prints the payload to sys.stdout
GO_AWAY = 27  # says go-away with code 3
BEGUN = 28  # answers how many UNTIL_CANCELLED have begun, as text


def huge(n):
    return (bytes(range(251)) * (n // 251 + 1))[:n]


class Service:
    """What both faces share. A handler's answer that needs to wait is ("sleep", seconds, result) or
    ("back", type, payload)."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cancels = []
        self.begun = 0

    def cancelled(self, request):
        with self.lock:
            cause = request.cause
            self.cancels.append({"code": cause.code, "text": cause.text, "deadline": cause.deadline})

    def begin(self):
        with self.lock:
            self.begun += 1

    def answer(self, request):
        kind, payload = request.type, request.payload
        if kind == NONE:
            return None
        if kind == FLAGS:
            return request.flags
        if kind == BYTES:
            return payload
        if kind == TEXT:
            return payload.decode("utf-8", "surrogatepass")
        if kind == PAIR:
            return request.flags, payload
        if kind == RAISE:
            raise RuntimeError("asked to raise")
        if kind == HUGE:
            return huge(int(payload))
        if kind == ERROR:
            raise HandlerError(payload.decode(), 7, [("first", b"1"), ("second", b"\x00\xff")])
        if kind == METADATA:
            return Reply(payload, request.flags, request.metadata)
        if kind == DEADLINE:
            return str(round(request.time_left * 1000)) if request.time_left is not None else "none"
        if kind == CANCELS:
            with self.lock:
                return json.dumps(self.cancels)
        if kind == BEGUN:
            return str(self.begun)
        if kind == STATUS:
            with open("/proc/self/statm", encoding="ascii") as f:
                rss = int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            return json.dumps({"rss": rss, "threads": threading.active_count(), "fds": len(os.listdir("/proc/self/fd")),
                               "incoming": len(request.connection._core.incoming)})
        if kind == PRINT:
            print(payload.decode(), flush=True)
            return None
        raise ValueError("no such type: %d" % kind)


def quiet(_request, _error):
    pass


def serve_threads(options):
    service = Service()

    def handler(request):
        if request.type == SLEEP:
            time.sleep(int(request.payload.split(b":", 1)[0]) / 1000)
            return request.flags, request.payload
        if request.type == BACK:
            kind, at = decode_uint(request.payload)
            answer = request.connection.call(kind, request.payload[at:], flags=request.flags)
            return answer.flags, answer.payload
        if request.type == UNTIL_CANCELLED:
            service.begin()
            if not request.wait_cancelled(30):
                raise RuntimeError("was not cancelled")
            service.cancelled(request)
            raise request.cause
        if request.type == GO_AWAY:
            request.connection.go_away(3, "enough")
            return None
        return service.answer(request)

    def streams(stream):
        if stream.name == "echo":
            for chunk in iter(lambda: stream.read(), b""):
                stream.write(chunk)
        elif stream.name == "slow":  # reads slowly and answers the sum of the lengths
            total = 0
            for chunk in iter(lambda: stream.read(8192), b""):
                total += len(chunk)
                time.sleep(0.0005)
            stream.write(b"%d" % total)
        elif stream.name == "source":
            size = int(dict(stream.metadata)["size"])
            while size:
                step = min(size, 100000)
                stream.write(huge(step))
                size -= step
        elif stream.name == "stop":
            stream.read(1)
            stream.close_read(9, "enough")
            stream.write(b"still")
            stream.close_write()
        elif stream.name == "reset":
            stream.read(1)
            stream.reset(5, "no more")
        elif stream.name == "fail":
            raise HandlerError("will not", 6)
        elif stream.name == "messages":
            for message in iter(stream.recv_message, None):
                stream.send_message(message + b"!")
        elif stream.name == "hold":
            stream.read(1)
            time.sleep(60)
        else:
            stream.refuse("nobody takes streams of this name")

    connection = packetstream.Connection.stdio(
        handler, stream_handler=streams, extensions=options.extensions, on_handler_error=quiet, max_streams=300)
    if options.print:
        print("this goes to standard error", flush=True)
    connection.wait()
    if options.status:
        time.sleep(0)
        print(json.dumps({"threads": threading.active_count()}), file=sys.stderr)


async def serve_asyncio(options):
    service = Service()

    async def handler(request):
        if request.type == SLEEP:
            await asyncio.sleep(int(request.payload.split(b":", 1)[0]) / 1000)
            return request.flags, request.payload
        if request.type == BACK:
            kind, at = decode_uint(request.payload)
            answer = await request.connection.call(kind, request.payload[at:], flags=request.flags)
            return answer.flags, answer.payload
        if request.type == UNTIL_CANCELLED:
            service.begin()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                service.cancelled(request)
                raise
        if request.type == GO_AWAY:
            await request.connection.go_away(3, "enough")
            return None
        return service.answer(request)

    async def streams(stream):
        if stream.name == "echo":
            while True:
                chunk = await stream.read()
                if not chunk:
                    break
                await stream.write(chunk)
        elif stream.name == "slow":
            total = 0
            while True:
                chunk = await stream.read(8192)
                if not chunk:
                    break
                total += len(chunk)
                await asyncio.sleep(0.0005)
            await stream.write(b"%d" % total)
        elif stream.name == "source":
            size = int(dict(stream.metadata)["size"])
            while size:
                step = min(size, 100000)
                await stream.write(huge(step))
                size -= step
        elif stream.name == "stop":
            await stream.read(1)
            stream.close_read(9, "enough")
            await stream.write(b"still")
            stream.close_write()
        elif stream.name == "reset":
            await stream.read(1)
            stream.reset(5, "no more")
        elif stream.name == "fail":
            raise HandlerError("will not", 6)
        elif stream.name == "messages":
            while True:
                message = await stream.recv_message()
                if message is None:
                    break
                await stream.send_message(message + b"!")
        elif stream.name == "hold":
            await stream.read(1)
            await asyncio.sleep(60)
        else:
            stream.refuse("nobody takes streams of this name")

    connection = await packetstream.AsyncConnection.stdio(
        handler, stream_handler=streams, extensions=options.extensions, on_handler_error=quiet, max_streams=300)
    if options.print:
        print("this goes to standard error", flush=True)
    await connection.wait()
    if options.status:
        print(json.dumps({"threads": threading.active_count()}), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--face", choices=("threads", "asyncio"), default="threads")
    parser.add_argument("--extensions", default="lazy")
    parser.add_argument("--print", action="store_true")
    parser.add_argument("--status", action="store_true")
    options = parser.parse_args()
    if options.face == "threads":
        serve_threads(options)
    else:
        asyncio.run(serve_asyncio(options))


if __name__ == "__main__":
    main()
