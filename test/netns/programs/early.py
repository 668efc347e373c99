"""A server that responds before it has read the upload, and a client that uploads until it fails and then reads. See early-response.test.ts."""
import socket
import sys
import threading
from collections import Counter


def serve(connection):
    head = b''
    while b'\r\n\r\n' not in head:
        piece = connection.recv(4096)
        if not piece:
            return
        head += piece
    connection.sendall(b'HTTP/1.1 413 Payload Too Large\r\nContent-Length: 10\r\nConnection: close\r\n\r\ntoo large\n')
    connection.close()


def listen(port):
    server = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def upload(host, port, size):
    client = socket.create_connection((host, port), 6)
    try:
        client.sendall(b'POST / HTTP/1.1\r\nHost: api.shop\r\nContent-Length: %d\r\n\r\n' % size)
        sent = 0
        while sent < size:
            sent += client.send(b'u' * min(65536, size - sent))
    except OSError:
        pass
    said = b''
    try:
        while b'too large\n' not in said and not said.endswith(b'\r\n\r\n'):
            piece = client.recv(65536)
            if not piece:
                break
            said += piece
    except OSError:
        pass
    client.close()
    return said.split(b'\r\n')[0].decode() + (' whole' if said.endswith(b'\r\n\r\ntoo large\n') else '')


if sys.argv[1] == 'serve':
    for port in sys.argv[2:]:
        threading.Thread(target=listen, args=(int(port),)).start()
else:
    _, _, host, port, size, times = sys.argv
    for outcome, count in Counter(upload(host, int(port), int(size)) for _ in range(int(times))).items():
        print(count, outcome)
