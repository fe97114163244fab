#!/usr/bin/env bash
# Makes sure of the server whose sessions are forwarded in a test, and prints its path. Its client comes with it.
exec "$(dirname "$0")/../system-peer.sh" redis-server redis-server
