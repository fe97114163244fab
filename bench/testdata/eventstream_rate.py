"""Measures servers of the interop service with the awscrt client, as it is told on standard input.

usage: eventstream_rate.py CLIENT.PY HOST:PORT...
Each line of input is the number of a server, a mode and a time in seconds; the answer to it is the round trips a second."""
import importlib.util
import sys
import time
import types

spec = importlib.util.spec_from_file_location('client', sys.argv[1])
client = importlib.util.module_from_spec(spec)
spec.loader.exec_module(client)


def calls(h, seconds, size=32):
    payload = b'x' * size
    n, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        client.start(h, 'interop#Echo', payload).messages.get(timeout=10)
        n += 1
    return n / (time.perf_counter() - start)


def large(h, seconds):
    return calls(h, seconds, 1 << 16)


def stream(h, seconds):
    payload = b'x' * 32
    s = client.start(h, 'interop#Chat', payload)
    s.messages.get(timeout=10)
    n, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        s.cont.send_message(message_type=client.MSG, payload=payload)
        s.messages.get(timeout=10)
        n += 1
    rate = n / (time.perf_counter() - start)
    s.cont.send_message(message_type=client.MSG, payload=b'', flags=client.TERM).result(10)
    return rate


def many(h, seconds):
    payload = b'x' * 32
    live = [client.start(h, 'interop#Echo', payload) for _ in range(64)]
    n, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        live.pop(0).messages.get(timeout=10)
        n += 1
        live.append(client.start(h, 'interop#Echo', payload))
    rate = n / (time.perf_counter() - start)
    for s in live:
        s.messages.get(timeout=10)
    return rate


def connect(address):
    host, port = address.rsplit(':', 1)
    return client.Driver(types.SimpleNamespace(host=host, port=int(port), unix=None, ca=None, server_name=None)).connect()


servers = [connect(address) for address in sys.argv[2:]]
modes = {'calls': calls, 'stream': stream, 'many': many, 'large': large}
for line in sys.stdin:
    server, mode, seconds = line.split()
    print(modes[mode](servers[int(server)], float(seconds)), flush=True)
