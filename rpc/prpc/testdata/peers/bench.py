#!/usr/bin/env python3
"""Measures calls per second of the real pRpc library as a client.

Prints one number: unary calls of echo.args, or with --stream messages of echo.duplex in
lockstep, with --inflight of them at a time for --seconds.
"""

import argparse
import asyncio
import time

import kitlib

PAYLOAD = b"sixteen bytes ok"


async def unary(connection, deadline):
    count = 0
    while time.monotonic() < deadline:
        if await connection.call_simple("echo.args", PAYLOAD) != [PAYLOAD]:
            raise ValueError("another echo")
        count += 1
    return count


async def stream(connection, deadline):
    count = 0
    async with connection.call_bistream("echo.duplex") as call:
        while time.monotonic() < deadline:
            await call.stream.send(PAYLOAD)
            if await call.stream.receive() != PAYLOAD:
                raise ValueError("another echo")
            count += 1
        await call.result
    return count


async def run(prpc, args):
    connection = prpc.Connection()
    await prpc.platform.ws_aiohttp.connect(connection, args.url)
    worker = stream if args.stream else unary
    await worker(connection, time.monotonic() + 0.2)
    start = time.monotonic()
    counts = await asyncio.gather(*[
        worker(connection, start + args.seconds)
        for _ in range(args.inflight)])
    rate = sum(counts) / (time.monotonic() - start)
    await connection.close()
    print("%.1f" % rate)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--lib")
    parser.add_argument("--inflight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--stream", action="store_true")
    args = parser.parse_args()
    prpc = kitlib.load_prpc(args.lib)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(run(prpc, args))


if __name__ == "__main__":
    main()
