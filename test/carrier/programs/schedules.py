"""Runs schedules of writes, half closes, resets and stalls at both ends of TCP connections, and prints what each end saw.

usage: schedules.py serve PORT...      prints one JSON line per connection
       schedules.py drive FILE         the schedules as JSON, each with the client's `sourcePort`; prints one JSON line per schedule
The client's first bytes carry the schedule of the server: 4 bytes of length, then JSON.
"""
import hashlib
import json
import random
import select
import socket
import struct
import sys
import threading
import time

BLOCK = 65521
STUCK = 20


def block_of(name):
    return random.Random(name).randbytes(BLOCK)


def piece(block, at, size):
    """`size` bytes of the endless repetition of `block`, from offset `at` on."""
    at %= BLOCK
    return (block[at:] + block * (size // BLOCK + 1))[:size]


class End:
    def __init__(self, sock, name, side):
        self.sock, self.name, self.side = sock, name, side
        self.out = block_of(name + side)
        self.want = block_of(name + ('server' if side == 'client' else 'client'))
        self.sent = self.got = 0
        self.whole, self.end, self.failed, self.stuck = True, None, None, None
        self.paused_until, self.closing = 0, False
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)

    def read(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        while not self.closing and self.end is None:
            if time.monotonic() < self.paused_until:
                time.sleep(0.005)
                continue
            if not poll.poll(20):
                continue
            end, data = None, b''
            try:
                data = self.sock.recv(1 << 16)
                if not data:
                    end = 'end'
            except ConnectionResetError:
                end = 'reset'
            except OSError as e:
                end = type(e).__name__
            with self.changed:
                if data != piece(self.want, self.got, len(data)):
                    self.whole = False
                self.got += len(data)
                self.end = end
                self.changed.notify_all()

    def until(self, what, holds):
        with self.changed:
            if not self.changed.wait_for(holds, STUCK):
                self.stuck = what
                raise TimeoutError(what)

    def step(self, op, arg):
        if op == 'write':
            # At most 64 KiB a call, so that writes of both ends interleave.
            while arg > 0:
                part = piece(self.out, self.sent, min(arg, 1 << 16))
                self.sock.sendall(part)
                self.sent += len(part)
                arg -= len(part)
        elif op == 'await':
            self.until('await %d' % arg, lambda: self.got >= arg or self.end)
        elif op == 'awaitend':
            self.until('awaitend', lambda: self.end)
        elif op == 'shut':
            self.sock.shutdown(socket.SHUT_WR)
        elif op == 'stall':
            self.paused_until = time.monotonic() + arg / 1000
        elif op == 'sleep':
            time.sleep(arg / 1000)
        elif op in ('reset', 'close'):
            self.closing = True
            self.reader.join()
            if op == 'reset':
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self.sock.close()

    def run(self, ops):
        self.reader.start()
        self.sock.settimeout(STUCK)
        for op, arg in ops:
            try:
                self.step(op, arg)
            except TimeoutError as e:
                self.stuck = self.stuck or '%s %s' % (op, arg)
                break
            except OSError as e:
                # The other end left: what was received until then is still counted.
                self.failed = '%s: %s' % (op, type(e).__name__)
                if self.end is None:
                    try:
                        self.step('awaitend', 0)
                    except TimeoutError:
                        pass
                break
        self.closing = True
        self.reader.join()
        self.sock.close()
        return {'name': self.name, 'side': self.side, 'sent': self.sent, 'got': self.got, 'whole': self.whole,
                'end': self.end, 'failed': self.failed, 'stuck': self.stuck}


def exactly(sock, size):
    data = b''
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError('ended')
        data += part
    return data


lock = threading.Lock()


def say(line):
    with lock:
        print(json.dumps(line), flush=True)


def serve_one(sock):
    try:
        sock.settimeout(STUCK)
        size, = struct.unpack('!I', exactly(sock, 4))
        job = json.loads(exactly(sock, size))
    except OSError:
        # A connection that was only opened, such as a probe of the test.
        sock.close()
        return
    say(End(sock, job['name'], 'server').run(job['ops']))


def serve(port):
    listener = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_one, args=(sock,), daemon=True).start()


def drive_one(job):
    try:
        # Each schedule has its own port. The kernel gives a port again, and at once after a reset.
        sock = socket.create_connection((job['ip'], job['port']), STUCK, ('', job['sourcePort']))
    except OSError as e:
        return {'name': job['name'], 'side': 'client', 'failed': 'connect: %s' % type(e).__name__}
    name = sock.getsockname()
    head = json.dumps({'name': job['name'], 'ops': job['server']}).encode()
    try:
        sock.sendall(struct.pack('!I', len(head)) + head)
    except OSError:
        # The schedule's first step fails too, and says how.
        pass
    outcome = End(sock, job['name'], 'client').run(job['client'])
    return {**outcome, 'address': ('[%s]:%d' if ':' in name[0] else '%s:%d') % name[:2]}


def drive(path):
    with open(path) as f:
        jobs = json.load(f)
    todo = iter(jobs)

    def work():
        while True:
            with lock:
                job = next(todo, None)
            if job is None:
                return
            say(drive_one(job))

    workers = [threading.Thread(target=work) for _ in range(12)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()


if sys.argv[1] == 'serve':
    for number in sys.argv[2:]:
        threading.Thread(target=serve, args=(int(number),)).start()
else:
    drive(sys.argv[2])
