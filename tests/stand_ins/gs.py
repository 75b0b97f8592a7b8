"""A server that speaks as Google's storage does, with an empty ``bucket``, until standard input ends. Prints where."""

import socket
import sys

from gcp_storage_emulator.server import create_server

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
with create_server("127.0.0.1", port, in_memory=True, default_bucket="bucket"):
    print(f"http://127.0.0.1:{port}", flush=True)
    sys.stdin.read()
