#!/usr/bin/env python3
"""The real pRpc library as a client that only is called: prints what "hello" was called with.
"""

import argparse
import asyncio

import kitlib


async def run(prpc, url):
    called = asyncio.get_event_loop().create_future()

    @prpc.method
    async def hello(ctx, name):
        called.set_result(name)
        return "hello " + name

    connection = prpc.Connection({"hello": hello})
    await prpc.platform.ws_aiohttp.connect(connection, url)
    print(await asyncio.wait_for(called, 10), flush=True)
    await asyncio.sleep(0.1)
    await connection.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--lib")
    args = parser.parse_args()
    prpc = kitlib.load_prpc(args.lib)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(run(prpc, args.url))


if __name__ == "__main__":
    main()
