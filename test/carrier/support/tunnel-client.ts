/** A program in a pod that connects to a tunnel's other end and does what it is told, a line at a time. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { until } from '../../../src/base/wait.js';

const code = (ip: string): string => `import socket, sys, struct, threading
s = socket.socket(); s.settimeout(15)
def upload(n):
    try: s.sendall(b'w' * n)
    except OSError: pass
for line in sys.stdin:
    op, n = line.split()[0], int(line.split()[1])
    try:
        if op == 'connect': s.connect(('${ip}', 9000)); print('connected', flush=True)
        elif op == 'write': s.sendall(b'w' * n); print('written', flush=True)
        elif op == 'upload': threading.Thread(target=upload, args=(n,), daemon=True).start(); print('begun', flush=True)
        elif op == 'shut': s.shutdown(socket.SHUT_WR); print('shut', flush=True)
        elif op == 'reset': s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close(); print('gone', flush=True)
        elif op == 'read':
            got = 0
            while got < n:
                d = s.recv(min(65536, n - got))
                if not d: break
                got += len(d)
            print('read', got, flush=True)
        elif op == 'end': print('end' if s.recv(1) == b'' else 'data', flush=True)
    except OSError as e: print(type(e).__name__, flush=True)
`;

export class TunnelClient {
  static readonly #children = new Set<ChildProcessWithoutNullStreams>();
  #lines: string[] = [];
  #text = '';
  #read = 0;
  readonly #child: ChildProcessWithoutNullStreams;

  constructor(ip: string, netns = 'weft-web') {
    this.#child = spawn('nsenter', [`--net=/run/netns/${netns}`, '--', 'python3', '-c', code(ip)]);
    this.#child.stdout.on('data', (bytes: Buffer) => {
      this.#text += bytes.toString();
      this.#lines = this.#text.split('\n').slice(0, -1);
    });
    this.#child.stdin.on('error', () => undefined);
    TunnelClient.#children.add(this.#child);
  }

  /** Resolves with what the program says: the operation's outcome, or the name of the error. */
  async do(op: string, argument = 0): Promise<string> {
    this.#child.stdin.write(`${op} ${argument}\n`);
    const at = this.#read++;
    return until(op, 30_000, () => this.#lines[at]);
  }

  /** Ends all of them, for after(). */
  static end(): void {
    for (const child of TunnelClient.#children) child.kill();
  }
}
