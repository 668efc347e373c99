"""equal server SCENARIO PORT [CERT] | equal client SCENARIO IP PORT: one connection between two programs. Each prints its
observations as one JSON line. Sockets do not block, as in an event loop; every wait is a poll(). Both exchange a byte first."""
import array, errno, fcntl, hashlib, json, os, random, select, signal, socket, ssl, struct, sys, time

FIONREAD, SIOCOUTQ = 0x541B, 0x5411
seen = []


def see(name, value):
    if isinstance(value, (bytes, bytearray)):
        value = value.decode() if len(value) < 40 else hashlib.sha256(value).hexdigest() + ' %d' % len(value)
    seen.append([name, value])


def attempt(name, call):
    try:
        value = call()
    except OSError as e:
        value = errno.errorcode[e.errno]
    see(name, value)
    return value


def wait(s, events, ms=5000):
    p = select.poll()
    p.register(s, events)
    got = p.poll(ms)
    return got[0][1] if got else 0


def send_all(s, data):
    view = memoryview(data)
    while view:
        try:
            n = s.send(view)
            view = view[n:]
        except BlockingIOError:
            wait(s, select.POLLOUT)


def recv_exactly(s, n):
    data = b''
    while len(data) < n:
        if not wait(s, select.POLLIN):
            raise TimeoutError('%d of %d bytes' % (len(data), n))
        piece = s.recv(n - len(data))
        if not piece:
            break
        data += piece
    return data


def recv_to_end(s, size=65536):
    data = b''
    while True:
        wait(s, select.POLLIN)
        try:
            piece = s.recv(size)
        except BlockingIOError:
            continue
        if not piece:
            return data
        data += piece


def count_of(s, request):
    value = array.array('i', [0])
    fcntl.ioctl(s, request, value)
    return value[0]


def until_count(s, n):
    """FIONREAD once it reaches this many bytes, or the value at which it stays."""
    end = time.time() + 1
    while count_of(s, FIONREAD) < n and time.time() < end:
        time.sleep(0.01)
    return count_of(s, FIONREAD)


def names(bits):
    of = [('IN', 1), ('PRI', 2), ('OUT', 4), ('ERR', 8), ('HUP', 16), ('RDHUP', 0x2000)]
    return ' '.join(n for n, b in of if bits & b)


EVERY = select.POLLIN | select.POLLPRI | select.POLLRDHUP
pattern = lambda n, seed=1: random.Random(seed).randbytes(n)


class Scenario:
    """One class per scenario: c(socket) is the client, s(socket) the server. `go` passes the turn to the other end."""

    def go(s):
        send_all(s, b'!')

    def turn(s):
        assert recv_exactly(s, 1) == b'!'


go, turn = Scenario.go, Scenario.turn


class half_close_by_client:
    def c(s):
        send_all(s, pattern(300000)); s.shutdown(socket.SHUT_WR); see('answer', recv_to_end(s))
    def s(s):
        data = recv_to_end(s); see('got', data); send_all(s, pattern(200000, 2)); s.close()

class half_close_by_server:
    def c(s):
        see('got', recv_to_end(s)); send_all(s, pattern(100000, 3)); s.close()
    def s(s):
        send_all(s, pattern(300000)); s.shutdown(socket.SHUT_WR); see('got', recv_to_end(s))

class both_half_closed:
    def c(s):
        send_all(s, pattern(100000)); s.shutdown(socket.SHUT_WR); see('got', recv_to_end(s)); see('poll', names(wait(s, EVERY, 200)))
    def s(s):
        send_all(s, pattern(100000, 2)); s.shutdown(socket.SHUT_WR); see('got', recv_to_end(s)); see('poll', names(wait(s, EVERY, 200)))

class partial_reads:
    def c(s):
        for i in range(3): send_all(s, pattern(1000, i))
        s.shutdown(socket.SHUT_WR); recv_to_end(s)
    def s(s):
        see('got', recv_to_end(s, 7)); s.close()

class peek:
    def c(s):
        send_all(s, b'hello world'); turn(s)
    def s(s):
        wait(s, select.POLLIN)
        see('peek 5', s.recv(5, socket.MSG_PEEK)); see('peek 5 again', s.recv(5, socket.MSG_PEEK)); see('peek 20', s.recv(20, socket.MSG_PEEK))
        see('read', s.recv(20)); attempt('nothing left', lambda: s.recv(5, socket.MSG_PEEK)); go(s)

class peek_over_two_writes:
    def c(s):
        send_all(s, b'abc'); send_all(s, b'def'); turn(s)
    def s(s):
        see('waiting', until_count(s, 6)); see('peek', s.recv(6, socket.MSG_PEEK)); see('read', s.recv(4)); see('rest', s.recv(4)); go(s)

class bytes_waiting:
    def c(s):
        send_all(s, pattern(1000)); send_all(s, pattern(500)); turn(s); see('unsent', count_of(s, SIOCOUTQ))
    def s(s):
        see('waiting', until_count(s, 1500)); see('read', s.recv(700)); see('left', count_of(s, FIONREAD)); see('rest', s.recv(2000)); see('none', count_of(s, FIONREAD)); go(s)

class poll_events:
    def c(s):
        see('at first', names(wait(s, select.POLLOUT, 0))); turn(s); send_all(s, b'x'); turn(s); s.shutdown(socket.SHUT_WR)
        see('at the end', names(wait(s, select.POLLIN))); see('end', s.recv(10)); see('then', names(wait(s, EVERY, 200)))
    def s(s):
        see('before', names(wait(s, EVERY, 0))); go(s); see('data', names(wait(s, EVERY))); see('still', names(wait(s, EVERY, 0))); s.recv(1)
        see('empty', names(wait(s, EVERY, 0))); go(s); see('half closed', names(wait(s, EVERY))); see('end', s.recv(1)); s.close()

class edge_triggered:
    def c(s):
        for i in range(3): turn(s); send_all(s, b'abc')
        turn(s); s.close()
    def s(s):
        e = select.epoll(); e.register(s, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET); e.poll(0)
        for i in range(3):
            go(s); see('edge', names(e.poll(5)[0][1])); see('no second', len(e.poll(0))); see('read', recv_exactly(s, 3)); attempt('drained', lambda: s.recv(1))
        go(s); see('end', names(e.poll(5)[0][1]))

class urgent:
    def c(s):
        s.send(b'a'); turn(s); s.send(b'x', socket.MSG_OOB); turn(s); s.send(b'b'); turn(s)
    def s(s):
        see('first', recv_exactly(s, 1)); go(s); see('urgent', names(wait(s, select.POLLPRI))); attempt('out of band', lambda: s.recv(1, socket.MSG_OOB)); go(s)
        see('then', recv_exactly(s, 1)); go(s)

class urgent_in_line:
    def c(s):
        turn(s); s.send(b'abc', socket.MSG_OOB); s.send(b'def'); turn(s)
    def s(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1); go(s); see('got', recv_exactly(s, 6)); go(s)

class through_a_pipe:
    def c(s):
        read, write = os.pipe(); data = pattern(300000); done = 0
        while done < len(data):
            done_now = os.write(write, data[done:done + 40000]); moved = 0
            while moved < done_now:
                try: moved += os.splice(read, s.fileno(), done_now - moved)
                except BlockingIOError: wait(s, select.POLLOUT)
            done += done_now
        s.shutdown(socket.SHUT_WR); see('answer', recv_to_end(s))
    def s(s):
        read, write = os.pipe(); data = b''
        while True:
            wait(s, select.POLLIN)
            try: n = os.splice(s.fileno(), write, 60000)
            except BlockingIOError: continue
            if not n: break
            while n: piece = os.read(read, n); data += piece; n -= len(piece)
        see('got', data); s.close()

class sendfile:
    def c(s):
        with open(sys.argv[0], 'rb') as f:
            size = os.fstat(f.fileno()).st_size; at = 0
            for _ in range(20):
                at = 0
                while at < size:
                    try: at += os.sendfile(s.fileno(), f.fileno(), at, size - at)
                    except BlockingIOError: wait(s, select.POLLOUT)
        s.shutdown(socket.SHUT_WR); see('end', recv_to_end(s))
    def s(s):
        see('got', recv_to_end(s)); s.close()

class many_buffers:
    def c(s):
        see('sent', s.sendmsg([b'one ', b'two ', b'three'])); turn(s)
    def s(s):
        see('waiting', until_count(s, 13)); a, b = bytearray(5), bytearray(20); n = s.recvmsg_into([a, b])[0]; see('size', n); see('a', a); see('b', b[:n - 5]); go(s)

class wait_for_all:
    def c(s):
        send_all(s, b'abc'); turn(s); send_all(s, b'defghi'); turn(s)
    def s(s):
        wait(s, select.POLLIN); see('what is there', s.recv(9, socket.MSG_WAITALL)); go(s); see('rest', recv_exactly(s, 6)); go(s)

class thrown_away:
    def c(s):
        send_all(s, b'abcdef'); turn(s)
    def s(s):
        wait(s, select.POLLIN); see('size', len(s.recv(3, socket.MSG_TRUNC))); see('rest', recv_exactly(s, 3)); go(s)

class small_buffers:
    before = lambda s: (s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304), s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608))
    def c(s):
        send_all(s, pattern(1000000)); s.shutdown(socket.SHUT_WR); see('answer', recv_to_end(s))
    def s(s):
        data = recv_to_end(s, 3000); see('got', data); send_all(s, data[:100000]); s.close()

class reader_that_waits:
    def c(s):
        data = pattern(32 << 20); sent = 0
        while sent < len(data):
            try: sent += s.send(data[sent:sent + 65536])
            except BlockingIOError: break
        see('held up', sent < len(data)); see('writable', names(wait(s, select.POLLOUT, 0)))
        s.shutdown(socket.SHUT_WR)
        see('whole', recv_to_end(s) == hashlib.sha256(data[:sent]).digest())
    def s(s):
        time.sleep(1); send_all(s, hashlib.sha256(recv_to_end(s)).digest()); s.close()

class forked_server:
    def c(s):
        send_all(s, pattern(50000)); s.shutdown(socket.SHUT_WR); see('answer', recv_to_end(s))
    def s(s):
        if os.fork() == 0:
            send_all(s, recv_to_end(s)); os._exit(0)
        s.close(); see('child', os.wait()[1])

class passed_on:
    def c(s):
        send_all(s, pattern(50000)); s.shutdown(socket.SHUT_WR); see('answer', recv_to_end(s))
    def s(s):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            s.close(); ours.close()
            fd = socket.recv_fds(theirs, 1, 1)[1][0]; got = socket.socket(fileno=fd); send_all(got, recv_to_end(got)); os._exit(0)
        socket.send_fds(ours, [b'x'], [s.fileno()]); s.close(); see('child', os.wait()[1])

class killed_in_mid_message:
    def c(s):
        send_all(s, pattern(100000)); turn(s); print(json.dumps(seen), flush=True); os.kill(os.getpid(), signal.SIGKILL)
    def s(s):
        see('so far', recv_exactly(s, 100000)); go(s); see('end', recv_to_end(s))

class reset_by_client:
    def c(s):
        turn(s); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
    def s(s):
        go(s); see('poll', names(wait(s, EVERY))); attempt('read', lambda: s.recv(10)); attempt('again', lambda: s.recv(10)); attempt('write', lambda: s.send(b'x', socket.MSG_NOSIGNAL))

class reset_seen_as_so_error:
    def c(s):
        turn(s); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
    def s(s):
        go(s); wait(s, EVERY); see('error', errno.errorcode.get(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))); see('once', s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

class closed_with_bytes_unread:
    def c(s):
        send_all(s, pattern(10000)); turn(s); wait(s, select.POLLIN | select.POLLRDHUP); attempt('read', lambda: s.recv(10)); time.sleep(0.2); attempt('write', lambda: s.send(b'x', socket.MSG_NOSIGNAL))
    def s(s):
        see('waiting', until_count(s, 10000)); go(s); s.close()

class write_after_the_other_closed:
    def c(s):
        see('end', recv_to_end(s)); attempt('first', lambda: s.send(b'x', socket.MSG_NOSIGNAL)); time.sleep(0.2); attempt('second', lambda: s.send(b'x', socket.MSG_NOSIGNAL))
    def s(s):
        s.close()

class shut_for_reading:
    def c(s):
        turn(s); send_all(s, b'abc'); turn(s)
    def s(s):
        s.shutdown(socket.SHUT_RD); see('poll', names(wait(s, EVERY, 0))); see('read', s.recv(10)); go(s); time.sleep(0.2); attempt('still', lambda: s.recv(10)); go(s)

class server_speaks_first:
    def c(s):
        see('greeting', recv_exactly(s, 5)); send_all(s, b'thanks'); see('end', recv_to_end(s))
    def s(s):
        send_all(s, b'hello'); see('answer', recv_exactly(s, 6)); s.close()

class closed_by_both_at_once:
    def c(s):
        turn(s); s.close(); see('closed', 1)
    def s(s):
        go(s); s.close(); see('closed', 1)

class byte_by_byte:
    def c(s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1); data = pattern(5000)
        for b in data: send_all(s, bytes([b]))
        s.shutdown(socket.SHUT_WR); see('answer', recv_to_end(s))
    def s(s):
        data = recv_to_end(s); see('got', data); send_all(s, data); s.close()

class corked:
    def c(s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for i in range(100): send_all(s, pattern(100, i))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0); turn(s)
    def s(s):
        see('got', recv_exactly(s, 10000)); go(s)

class messages_both_ways_at_once:
    def both(s, mine, theirs):
        out, data, sizes = pattern(3 << 20, mine), b'', random.Random(mine)
        at = 0; p = select.poll(); p.register(s, select.POLLIN | select.POLLOUT)
        while at < len(out) or len(data) < 3 << 20:
            for _, got in p.poll(5000):
                # Never past the end: later bytes may already be there.
                if got & select.POLLIN and len(data) < 3 << 20:
                    data += s.recv(min(sizes.choice([1, 100, 5000, 200000]), (3 << 20) - len(data)))
                if got & select.POLLOUT and at < len(out):
                    try: at += s.send(out[at:at + sizes.choice([1, 17, 4096, 100000])])
                    except BlockingIOError: pass
                    if at == len(out): p.modify(s, select.POLLIN)
        see('whole', data == pattern(3 << 20, theirs))
    def c(s):
        messages_both_ways_at_once.both(s, 1, 2); turn(s)
    def s(s):
        messages_both_ways_at_once.both(s, 2, 1); go(s)

class addresses:
    def c(s):
        see('peer port', s.getpeername()[1]); see('connected', s.getsockname()[0] != s.getpeername()[0]); send_all(s, b'%05d' % s.getsockname()[1]); turn(s)
    def s(s):
        see('the port it says', int(recv_exactly(s, 5)) == s.getpeername()[1]); go(s)

class tls:
    def c(s):
        context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
        s.setblocking(True); s.settimeout(20); t = context.wrap_socket(s); t.sendall(pattern(2000000)); t.sendall(b''); see('answer', t.recv(64)); t.close()
    def s(s):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[4])
        s.setblocking(True); s.settimeout(20); t = context.wrap_socket(s, server_side=True); data = b''
        while len(data) < 2000000: data += t.recv(65536)
        see('got', data); t.sendall(b'thanks'); t.close()


def main():
    role, name = sys.argv[1:3]
    scenario = globals()[name]
    before = getattr(scenario, 'before', lambda s: None)
    if role == 'server':
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        before(listener)
        listener.bind(('::', int(sys.argv[3]))); listener.listen(16)
        print('listening', flush=True)
        s = listener.accept()[0]; s.setblocking(False)
        send_all(s, recv_exactly(s, 1))
        scenario.s(s)
    else:
        ip = sys.argv[3]
        s = socket.socket(socket.AF_INET6 if ':' in ip else socket.AF_INET); before(s); s.setblocking(False)
        try: s.connect((ip, int(sys.argv[4])))
        except BlockingIOError: wait(s, select.POLLOUT)
        send_all(s, b'+'); recv_exactly(s, 1)
        scenario.c(s)
    print(json.dumps(seen), flush=True)


if __name__ == '__main__':
    main()
