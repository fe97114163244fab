#!/usr/bin/env python3
''' Read packets with the real cs.packetstream and say what they are.

    Each line of input is the hex of some bytes. Each line of output is JSON: the
    packets found in them up to their end or the first error, each with its fields
    and with the bytes which the library itself writes for it, and the name of the error.
'''

import json
import sys

from cs.buffer import CornuCopyBuffer
from cs.packetstream import Packet

def describe(P):
  d = dict(
      is_request=bool(P.is_request),
      channel=str(P.channel),
      tag=str(P.tag),
      flags=str(P.flags),
      payload=bytes(P.payload).hex(),
      wire=b''.join(P.transcribe_flat()).hex(),
  )
  if P.is_request:
    d['rq_type'] = str(P.rq_type)
  return d

for line in sys.stdin:
  bs = bytes.fromhex(line)
  found = dict(packets=[], error='')
  try:
    for P in Packet.scan(CornuCopyBuffer([bs] if bs else [])):
      found['packets'].append(describe(P))
  except Exception as e:  # pylint: disable=broad-except
    found['error'] = type(e).__name__
  print(json.dumps(found), flush=True)
