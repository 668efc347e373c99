/** Proofs of what is on the wire: a capture of the loopback interface, read by port. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { get } from 'node:http';
import { readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import { WeftError } from '../../src/base/errors.js';
import { sleep, until } from '../../src/base/wait.js';
import type { SocketAddress } from '../../src/model/address.js';
import type { SpiffeId } from '../../src/model/identity.js';
import { Http2Client } from './http2-client.js';
import { bodyBytes, type Protocol } from './scene.js';

/** `<ip>:<port> <ip>:<port>`, from and to -> the bytes that went that way. */
export type Flows = ReadonlyMap<string, Buffer>;

/** IPv4 over TCP out of a capture file of Ethernet frames, in the order captured. */
export function parseCapture(file: Buffer): Flows {
  const parts = new Map<string, Buffer[]>();
  const host = (at: number): string => file.subarray(at, at + 4).join('.');
  const fileHeadBytes = 24;
  const recordHeadBytes = 16;
  const ethernetBytes = 14;
  for (let at = fileHeadBytes; at + recordHeadBytes <= file.length;) {
    const size = file.readUInt32LE(at + 8);
    const ip = at + recordHeadBytes + ethernetBytes;
    at += recordHeadBytes + size;
    if (at > file.length || file.readUInt16BE(ip - 2) !== 0x0800 || file[ip + 9] !== 6) continue;
    const tcp = ip + ((file[ip] ?? 0) & 15) * 4;
    const payload = file.subarray(tcp + ((file[tcp + 12] ?? 0) >> 4) * 4, ip + file.readUInt16BE(ip + 2));
    if (payload.length === 0) continue;
    const key = `${host(ip + 12)}:${file.readUInt16BE(tcp)} ${host(ip + 16)}:${file.readUInt16BE(tcp + 2)}`;
    const known = parts.get(key);
    if (known) known.push(payload);
    else parts.set(key, [payload]);
  }
  return new Map([...parts].map(([key, all]) => [key, Buffer.concat(all)]));
}

async function captured(
  addresses: readonly SocketAddress[],
  dir: string,
  work: () => Promise<unknown>,
): Promise<Flows> {
  const file = join(dir, 'capture.pcap');
  const filter = addresses.map(({ ip, port }) => `(host ${ip} and tcp port ${port})`).join(' or ');
  // In immediate mode each packet takes the space of the largest: room for a thousand, of the loopback interface's 64 KiB.
  const args = ['-i', 'lo', '-s', '66000', '-B', '66000', '--immediate-mode', '-U', '-Z', 'root', '-w', file];
  const program = spawn('tcpdump', [...args, filter], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  program.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const ended = once(program, 'exit');
  try {
    await until('tcpdump listens', 10_000, () => {
      if (program.exitCode !== null) throw new WeftError('WEFT_COMMAND', `tcpdump: ${said.trim()}`);
      return said.includes('listening on');
    });
    await work();
    await sleep(300);
  } finally {
    program.kill('SIGINT');
    await ended;
  }
  if (!/\b0 packets dropped by kernel/.test(said))
    throw new WeftError('WEFT_COMMAND', `tcpdump lost packets: ${said.trim()}`);
  try {
    return parseCapture(readFileSync(file));
  } finally {
    rmSync(file);
  }
}

const suites: Readonly<Record<number, string>> = {
  0x1301: 'TLS_AES_128_GCM_SHA256',
  0x1302: 'TLS_AES_256_GCM_SHA384',
  0x1303: 'TLS_CHACHA20_POLY1305_SHA256',
};

/** The suite that a server chose, by its first message (RFC 8446, 4.1.3); undefined if it is not a suite of TLS 1.3. */
export function suiteOf(bytes: Buffer): string | undefined {
  const handshake = 22;
  const serverHello = 2;
  if (bytes[0] !== handshake || bytes[5] !== serverHello) return undefined;
  const sessionId = 43;
  const at = sessionId + 1 + (bytes[sessionId] ?? 0);
  return at + 2 <= bytes.length ? suites[bytes.readUInt16BE(at)] : undefined;
}

/** One side of a proxy's connections. */
export interface Leg {
  readonly name: string;
  /** Addresses that listen. */
  readonly at: readonly SocketAddress[];
}

const clear = ['GET /', 'HTTP/1.1', 'x-backend', 'x'.repeat(32)];

/** Checks that all bytes of a leg are secured. Throws if not, or if there are none. Returns the cipher suites. */
export function secureLeg(name: string, { name: leg, at }: Leg, flows: Flows, marker: string): string[] {
  const fail = (why: string): never => {
    throw new WeftError('WEFT_BENCH_NOT_SECURED', `${name}, ${leg}: ${why}`);
  };
  const found = new Set<string>();
  for (const [key, bytes] of flows) {
    const [from = '', to = ''] = key.split(' ');
    const ends = at.map(({ ip, port }) => `${ip}:${port}`);
    if (!ends.includes(from) && !ends.includes(to)) continue;
    for (const text of [marker, ...clear])
      if (bytes.includes(text)) fail(`"${text}" can be read on the wire`);
    if (!ends.includes(from)) continue;
    const suite = suiteOf(bytes);
    found.add(suite ?? fail('a connection does not begin as TLS 1.3 does'));
  }
  if (found.size === 0) fail('nothing came by');
  return [...found];
}

const stuckMs = 5_000;

/** The first bytes that come back, as text; empty where the other side ends without any. */
const answerOf = (socket: net.Socket): Promise<string> =>
  new Promise((resolve) => {
    const finish = (text: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(() => finish('it waits'), stuckMs);
    socket.once('data', (bytes: Buffer) => finish(bytes.toString('latin1')));
    socket.on('error', () => undefined);
    socket.once('close', () => finish(''));
  });

/** Proves that a client without a certificate of the mesh gets no response. */
async function proveClosed(name: string, { ip, port }: SocketAddress): Promise<void> {
  const request = 'GET / HTTP/1.1\r\nhost: main.d.svc\r\n\r\n';
  const plain = net.connect({ host: ip, port });
  plain.write(request);
  if (/HTTP\/1|\b200\b/.test(await answerOf(plain)))
    throw new WeftError('WEFT_BENCH_NOT_SECURED', `${name} answers plain requests at ${ip}:${port}`);
  const stranger = tls.connect({ host: ip, port, rejectUnauthorized: false });
  stranger.once('secureConnect', () => stranger.write(request));
  const said = await answerOf(stranger);
  if (said !== '')
    throw new WeftError('WEFT_BENCH_NOT_SECURED', `${name} answers clients without a certificate: ${said}`);
}

/** Sends a request that pretends to come from somebody else. Returns the client's identity as the backend saw it. */
type AskIdentity = (path: string, headers: Readonly<Record<string, string>>) => Promise<string | undefined>;

const identityHeader = 'x-forwarded-client-cert';

/** HTTP/1.1. What backends see is in the capture. */
const askHttp1 =
  (name: string, port: number): AskIdentity =>
  (path, headers) =>
    new Promise((resolve, reject) => {
      const sent = { ...headers, connection: 'close' };
      get({ host: '127.0.0.1', port, path, headers: sent, timeout: stuckMs }, (answer) => {
        let bytes = 0;
        answer.on('data', (chunk: Buffer) => (bytes += chunk.length));
        answer.on('end', () =>
          answer.statusCode === 200 && bytes === bodyBytes
            ? resolve(undefined)
            : reject(
                new WeftError(
                  'WEFT_BENCH_NOT_CARRIED',
                  `${name} answers ${answer.statusCode} with ${bytes} bytes`,
                ),
              ),
        );
      }).on('error', reject);
    });

/**
 * Refuses to measure a proxy whose wire can be read, or that does not tell endpoints who the client is. Has to be asked before
 * any other request: handshakes are looked at. Returns what was found, for the report.
 */
export async function proveSecured(
  name: string,
  options: {
    readonly dir: string;
    /** The client's end. */
    readonly port: number;
    readonly protocol: Protocol;
    readonly legs: readonly Leg[];
    readonly backends: readonly SocketAddress[];
    /** Whom endpoints should hear of; undefined where there is no proxy to tell. */
    readonly client: SpiffeId | undefined;
  },
): Promise<string> {
  const { legs, backends, client, protocol, port } = options;
  const marker = `proof-${process.pid}-${Date.now()}`;
  const pretended = 'URI=spiffe://cluster.local/ns/bench/sa/somebody-else';
  const requests = 50;
  let seen: (string | undefined)[] = [];
  const flows = await captured([...legs.flatMap(({ at }) => at), ...backends], options.dir, async () => {
    const session = protocol === 'http2' ? new Http2Client(name, port) : undefined;
    const ask: AskIdentity = session
      ? async (path, headers) => (await session.ask(path, headers)).client
      : askHttp1(name, port);
    try {
      for (let i = 0; i < requests; i++) seen.push(await ask(`/${marker}`, { [identityHeader]: pretended }));
    } finally {
      session?.close();
    }
  });
  if (protocol === 'http1') seen = identitiesIn(flows, backends, marker);
  if (seen.length !== requests)
    throw new WeftError(
      'WEFT_BENCH_NOT_CARRIED',
      `${name}: backends saw ${seen.length} of ${requests} requests`,
    );
  if (client !== undefined)
    for (const said of seen)
      if (said === undefined || !said.split(/[;,]/).includes(`URI=${client}`) || said.includes(pretended))
        throw new WeftError(
          'WEFT_BENCH_NOT_SECURED',
          `${name} tells endpoints of "${said}", not of ${client}`,
        );
  const found = legs.map((leg) => `${leg.name} ${secureLeg(name, leg, flows, marker).join(', ')}`);
  for (const { at } of legs) for (const address of at) await proveClosed(name, address);
  return found.join('; ');
}

/** The clients' identities in the HTTP/1.1 requests that the backends received. */
const identitiesIn = (
  flows: Flows,
  backends: readonly SocketAddress[],
  marker: string,
): (string | undefined)[] =>
  [...flows]
    .filter(([key]) => backends.some(({ ip, port }) => key.endsWith(` ${ip}:${port}`)))
    .map(([, bytes]) => bytes.toString('latin1'))
    .join('')
    .split('\r\n\r\n')
    .filter((head) => head.includes(marker))
    .map((head) => new RegExp(`^${identityHeader}: (.*)$`, 'im').exec(head)?.[1]?.trim());
