#!/usr/bin/env bash
# Makes sure of the browser in which mushroom's page is tested, and prints its path.
exec "$(dirname "$0")/../system-peer.sh" chromium chromium
