#!/usr/bin/env python3
''' Call an echo with the real cs.packetstream and print how fast that went, as one JSON line.

    Usage: reference_client.py [options] -- CMD ARGS...
'''

import argparse
from collections import deque
import json
import os
import subprocess
import sys
import time

import pscompat

def main():
  ap = argparse.ArgumentParser(description=__doc__)
  ap.add_argument('--grace', type=float)
  ap.add_argument('--size', type=int, default=16)
  ap.add_argument('--in-flight', type=int, default=1)
  ap.add_argument('--warm', type=float, default=0.1)
  ap.add_argument('--seconds', type=float, default=1.0)
  ap.add_argument('--cpu', type=int, help='which of its processors this process keeps to')
  ap.add_argument('cmd', nargs='+')
  opts = ap.parse_args()
  pscompat.quiet()
  # the 20240630 release prints reports on stdout as it closes
  out = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(2, 1)
  proc = subprocess.Popen(opts.cmd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
  if opts.cpu is not None:  # after the child's start, which would inherit it
    pscompat.keep_to(opts.cpu)
  send_fd = os.dup(proc.stdin.fileno())
  proc.stdin.close()
  conn = pscompat.connection(
      proc.stdout.fileno(), send_fd, name='client', handler=lambda *_: None, grace=opts.grace
  )
  with conn:
    run(conn, opts, opts.warm)
    before = usage(proc.pid)
    result = run(conn, opts, opts.seconds)
    cpu, calls = (b - a for a, b in zip(before, usage(proc.pid)))
    print(json.dumps(dict(result, cpu_us=cpu * 1e6, system_calls=calls)), file=out)
    sys.stdout.flush()
    out.close()
    proc.kill()  # its close may take as long as it likes
    os._exit(0)

def usage(child):
  ''' The seconds of processor time of this process and its child, and how often both have read and written. '''
  cpu, calls = time.process_time(), 0
  with open(f'/proc/{child}/stat') as f:
    ticks = f.read().rpartition(')')[2].split()[11:13]
  cpu += sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')
  for pid in 'self', child:
    with open(f'/proc/{pid}/io') as f:
      fields = dict(line.split(': ') for line in f)
    calls += int(fields['syscr']) + int(fields['syscw'])
  return cpu, calls

def run(conn, opts, seconds):
  ''' Keep calls in flight for a time and check each answer. '''
  times = []
  pending = deque()
  start = time.perf_counter()
  end = start + seconds
  n = 0

  def finish():
    nonlocal n
    begun, payload, result = pending.popleft()
    ok, _, got = result()
    if not ok or bytes(got) != payload:
      sys.exit('a wrong answer')
    times.append(time.perf_counter() - begun)
    n += 1

  while time.perf_counter() < end:
    while len(pending) >= opts.in_flight:
      finish()
    payload = (n + len(pending)).to_bytes(8, 'big') * (opts.size // 8)
    pending.append((time.perf_counter(), payload, pscompat.submit(conn, pscompat.RQ_BYTES, 0, payload)))
  while pending:
    finish()
  took = time.perf_counter() - start
  times.sort()
  return dict(
      calls=n, seconds=took, p50_us=times[len(times) // 2] * 1e6,
      p99_us=times[min(len(times) - 1, int(len(times) * .99))] * 1e6
  )

if __name__ == '__main__':
  main()
