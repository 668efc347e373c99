"""Stands between an agent and a carrier: passes packets with their descriptors, and kills the agent after one of them.

usage: packets.py between LISTEN CARRIER WHEN     WHEN: a file, read at each connection: n, after the n-th packet; 0, never; "agent K" or
                                                  "carrier K", after the first packet of that side with a message of kind K (field number)
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


def between(path, carrier, when):
    listener = listen(path)
    print('listening', flush=True)
    while True:
        agent, _ = listener.accept()
        threading.Thread(target=passing, args=(agent, carrier, when), daemon=True).start()


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def kinds(data):
    """The kinds of a packet's messages: field 1 of the packet is a message, whose only field is its kind."""
    found = []
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        value, at = varint(data, at)
        if tag == 10:
            found.append(varint(data, at)[0] >> 3)
        if tag & 7 == 2:
            at += value
    return found


def passing(agent, carrier, when):
    with open(when) as f:
        side, _, kind = f.read().strip().rpartition(' ')
    after, kind = (0, int(kind)) if side else (int(kind), 0)
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
                seen = kinds(data)
                print('passed %d from %s, %d bytes, %d descriptors, kinds %s' % (passed, name, len(data), len(fds), seen), flush=True)
                if passed == after or name == side and kind in seen:
                    os.kill(pid, signal.SIGKILL)
                    print('killed after %s' % (' '.join([side, str(kind)]) if side else passed), flush=True)
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
