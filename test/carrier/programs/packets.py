"""Stands between an agent and a carrier: passes packets with their descriptors, and kills the agent after the n-th one.

usage: packets.py between LISTEN CARRIER COUNT    COUNT: a file with n, read at each connection; 0: never
       packets.py say SOCKET HEX...               connects, sends packets, prints what comes back until the end
       packets.py carrier LISTEN HEX...           a carrier that sends these packets to whoever connects
"""
import os
import select
import signal
import socket
import struct
import sys
import threading

MAX = 1 << 18


def seqpacket():
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def listen(path):
    one = seqpacket()
    one.bind(path)
    one.listen(8)
    return one


def receive(sock):
    data, fds, _, _ = socket.recv_fds(sock, MAX, 253)
    return data, fds


def between(path, carrier, count):
    listener = listen(path)
    print('listening', flush=True)
    while True:
        agent, _ = listener.accept()
        threading.Thread(target=passing, args=(agent, carrier, count), daemon=True).start()


def passing(agent, carrier, count):
    with open(count) as f:
        after = int(f.read())
    pid, = struct.unpack('i', agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4])
    there = seqpacket()
    there.connect(carrier)
    passed = 0
    poll = select.poll()
    for sock in (agent, there):
        poll.register(sock, select.POLLIN)
    other = {agent.fileno(): (agent, there, 'agent'), there.fileno(): (there, agent, 'carrier')}
    try:
        while True:
            for fd, _ in poll.poll():
                source, target, name = other[fd]
                data, fds = receive(source)
                if not data:
                    return
                socket.send_fds(target, [data], fds)
                for one in fds:
                    os.close(one)
                passed += 1
                print('passed %d from %s, %d bytes, %d descriptors' % (passed, name, len(data), len(fds)), flush=True)
                if passed == after:
                    os.kill(pid, signal.SIGKILL)
                    print('killed after %d' % passed, flush=True)
                    return
    except OSError as e:
        print('%s' % e, flush=True)
    finally:
        agent.close()
        there.close()


def say(path, packets):
    sock = seqpacket()
    sock.connect(path)
    sock.settimeout(5)
    try:
        for one in packets:
            sock.send(bytes.fromhex(one))
        while True:
            data, fds = receive(sock)
            for fd in fds:
                os.close(fd)
            if not data:
                print('end')
                return
            print('got', data.hex()[:200])
    except OSError as e:
        print('end' if isinstance(e, (ConnectionResetError, BrokenPipeError)) else type(e).__name__)


def fake(path, packets):
    listener = listen(path)
    print('listening', flush=True)
    kept = []
    while True:
        sock, _ = listener.accept()
        kept.append(sock)
        print('connected', flush=True)
        for one in packets:
            sock.send(bytes.fromhex(one))


if sys.argv[1] == 'between':
    between(*sys.argv[2:5])
elif sys.argv[1] == 'say':
    say(sys.argv[2], sys.argv[3:])
else:
    fake(sys.argv[2], sys.argv[3:])
