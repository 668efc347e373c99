"""rawsyn IP PORT SOURCE: a handshake and a request in raw packets from an address that this pod's kernel does not have, so that
no kernel resets it. Prints whether SYN+ACK or RST came back, and whether any byte of a response did."""
import random, socket, struct, sys, time

to, port, source = sys.argv[1], int(sys.argv[2]), sys.argv[3]
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
tap.settimeout(1.5)
sport = random.randrange(20000, 60000)


def checksum(data):
    if len(data) % 2:
        data += b'\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(flags, seq, ack, payload=b''):
    tcp = struct.pack('!HHIIBBHHH', sport, port, seq, ack, 5 << 4, flags, 65535, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack('!BBH', 0, 6, len(tcp) + len(payload))
    tcp = tcp[:16] + struct.pack('!H', checksum(pseudo + tcp + payload)) + tcp[18:]
    ip = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(tcp) + len(payload), 1, 0, 64, 6, 0, socket.inet_aton(source), socket.inet_aton(to))
    out.sendto(ip + tcp + payload, (to, 0))


def answer():
    until = time.time() + 1.5
    while time.time() < until:
        try:
            packet = tap.recv(2000)
        except TimeoutError:
            return None
        if packet[9] != 6 or packet[12:16] != socket.inet_aton(to):
            continue
        head = (packet[0] & 15) * 4
        source_port, dest_port, seq, ack, offset, flags = struct.unpack('!HHIIBB', packet[head : head + 14])
        if source_port == port and dest_port == sport:
            size = struct.unpack('!H', packet[2:4])[0]
            return flags, seq, packet[head + (offset >> 4) * 4 : size]
    return None


send(0x02, 1000, 0)
first = answer()
if first is None:
    print('silence')
elif first[0] & 0x04:
    print('reset')
else:
    send(0x10, 1001, first[1] + 1)
    send(0x18, 1001, first[1] + 1, b'ping')
    data = b''
    while True:
        got = answer()
        if got is None or got[0] & 0x04:
            break
        data += got[2]
    print('answered', data.decode())
