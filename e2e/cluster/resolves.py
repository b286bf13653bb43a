"""Asks the cluster's name server for kubernetes.default.svc and fails unless it gives the API server's address.

Arguments: the server, the address to expect, the cluster's domain. A query by hand, as no `dig` may be there.
"""

import socket
import struct
import sys

server, expected, domain = sys.argv[1:]
name = b"".join(bytes([len(part)]) + part.encode() for part in f"kubernetes.default.svc.{domain}".split(".")) + b"\0"
query = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(1)
    client.sendto(query, (server, 53))
    answer = client.recv(512)
sys.exit(0 if answer.endswith(socket.inet_aton(expected)) else 1)
