"""Many connections: most idle, some busy, on two ports of which a policy later forbids one.

usage: many.py serve PORT...                                echoes
       many.py hold IP ALLOWED FORBIDDEN IDLE BUSY          IDLE and BUSY connections to each port
`hold` prints a JSON line once all are open, and one for each line that it reads.
"""
import json
import select
import socket
import sys
import threading
import time

EVERY = 0.5


def serve(ports):
    poll = select.epoll()
    listeners, clients = {}, {}
    for port in ports:
        one = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
        one.setblocking(False)
        listeners[one.fileno()] = one
        poll.register(one, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd in listeners:
                try:
                    sock, _ = listeners[fd].accept()
                except OSError:
                    continue
                sock.setblocking(False)
                clients[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                continue
            try:
                data = clients[fd].recv(4096)
                if data:
                    clients[fd].send(data)
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            poll.unregister(fd)
            clients.pop(fd).close()


class Held:
    def __init__(self, sock, forbidden, busy):
        self.sock, self.forbidden, self.busy = sock, forbidden, busy
        self.waiting = False
        self.ended = None


def hold(ip, allowed, forbidden, idle, busy):
    kinds = [(port, is_busy) for is_busy, count in ((False, idle), (True, busy)) for port in (allowed, forbidden)
             for _ in range(count)]
    todo, lock, held, failed = iter(kinds), threading.Lock(), {}, []

    def work():
        while True:
            with lock:
                kind = next(todo, None)
            if kind is None:
                return
            try:
                sock = socket.create_connection((ip, kind[0]), 20)
                sock.sendall(b'x')
                assert sock.recv(1) == b'x'
            except (OSError, AssertionError) as e:
                failed.append('%s: %s' % (type(e).__name__, e))
                continue
            sock.setblocking(False)
            held[sock.fileno()] = Held(sock, kind[0] == forbidden, kind[1])

    workers = [threading.Thread(target=work) for _ in range(8)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    trips = wrong = 0

    def report():
        cuts = sorted(one.ended for one in held.values() if one.forbidden and one.ended)
        print(json.dumps({
            'open': len(held), 'failed': failed[:3], 'failures': len(failed), 'forbidden': sum(one.forbidden for one in held.values()),
            'cut': len(cuts), 'first': cuts[0] * 1000 if cuts else 0, 'last': cuts[-1] * 1000 if cuts else 0,
            'lost': sum(1 for one in held.values() if not one.forbidden and one.ended),
            'trips': trips, 'wrong': wrong}), flush=True)

    poll = select.epoll()
    for fd in held:
        poll.register(fd, select.EPOLLIN)
    poll.register(0, select.EPOLLIN)
    line = bytes(64)
    report()
    busy_ones = [one for one in held.values() if one.busy]
    at = time.time()
    done = 0
    while True:
        events = poll.poll(0.02)
        now = time.time()
        for fd, _ in events:
            if fd == 0:
                if not sys.stdin.buffer.raw.read(100):
                    return
                report()
                continue
            one = held[fd]
            try:
                data = one.sock.recv(4096)
            except BlockingIOError:
                continue
            except OSError:
                data = b''
            if data:
                one.waiting = False
                trips += not one.forbidden
                wrong += data != line
                continue
            one.ended = now
            poll.unregister(fd)
            one.sock.close()
        # Spread over the interval, a part of them in each turn.
        due = len(busy_ones) if now - at >= EVERY else int(len(busy_ones) * (now - at) / EVERY)
        for one in busy_ones[done:due]:
            if not one.waiting and one.ended is None:
                one.waiting = True
                try:
                    one.sock.send(line)
                except OSError:
                    pass
        done = due
        if now - at >= EVERY:
            at, done = now, 0


if sys.argv[1] == 'serve':
    serve([int(port) for port in sys.argv[2:]])
else:
    hold(sys.argv[2], *(int(number) for number in sys.argv[3:]))
