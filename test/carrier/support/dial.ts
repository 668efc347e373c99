/** One connection to an echo server of a testbed. */
import { run } from '../../../src/cli/run.js';

/**
 * Connects from a network namespace and sends `ping`. Resolves with `ping`, with `closed` if the connection ended before a byte came, or with
 * the last line of Python's error. Each step may take 3 s.
 */
export async function dial(from: string, ip: string, port: number): Promise<string> {
  const code = `import socket\ns = socket.create_connection(('${ip}', ${port}), 3); s.settimeout(3); s.sendall(b'ping'); print(s.recv(10).decode() or 'closed')`;
  const { stdout, stderr } = await run(from, 'python3', ['-c', code], 20_000);
  return stdout.trim() || (stderr.trim().split('\n').at(-1) ?? '');
}
