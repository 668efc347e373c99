/** A connection that a program in a pod holds open. */
import { spawn } from 'node:child_process';
import { until } from '../../src/base/wait.js';

export interface HeldConnection {
  /** Sends a line; resolves with the reply, or with the name of the error. */
  ask(): Promise<string>;
  end(): void;
}
export function hold(netns: string, ip: string, port = 9000): HeldConnection {
  const code = `import socket, sys, errno
s = socket.create_connection(('${ip}', ${port}), 4); print('open', flush=True)
for line in sys.stdin:
    try:
        s.sendall(line.encode()); print(s.recv(100).decode().strip() or 'end', flush=True)
    except OSError as e: print(errno.errorcode[e.errno], flush=True)
`;
  const child = spawn('nsenter', [`--net=/run/netns/${netns}`, '--', 'python3', '-c', code], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  let asked = 0;
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));
  return {
    ask: async () => {
      await until('it is open', 30_000, () => text.startsWith('open'));
      child.stdin.write('hello\n');
      asked++;
      return until('an answer', 30_000, () => text.split('\n').filter(Boolean)[asked]);
    },
    end: () => void child.kill(),
  };
}
