/** Programs in a pod that continuously send requests to an echo server and count failures. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Counts {
  readonly good: number;
  /** Number of failures by reason. */
  readonly bad: Readonly<Record<string, number>>;
}
export interface Requests {
  counts(): Promise<Counts>;
  end(): Promise<Counts>;
}

/**
 * `perConnection`: requests on one connection, 10 ms apart; 1: one connection per request. Every returned byte is compared.
 */
const program = `
import json, socket, sys, threading, time
ip, port, per, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
good, bad, lock, going = 0, {}, threading.Lock(), True
def note(why):
    global good
    with lock:
        if why is None: good += 1
        else: bad[why] = bad.get(why, 0) + 1
def client(n):
    i = 0
    while going:
        why = None
        try:
            with socket.create_connection((ip, port), 5) as s:
                for _ in range(per):
                    i += 1
                    want = b'%08d %08d\\n' % (n, i)
                    s.sendall(want)
                    got = b''
                    while len(got) < len(want):
                        part = s.recv(100)
                        if not part: break
                        got += part
                    note(None if got == want else 'cut after %d bytes' % len(got))
                    if per > 1: time.sleep(0.01)
                    if got != want or not going: break
        except OSError as e:
            note('%s after %s' % (type(e).__name__, 'connect' if 's' in dir() else 'nothing'))
            time.sleep(0.005)
        s = None
        time.sleep(0.002)
all = [threading.Thread(target=client, args=(n,)) for n in range(threads)]
for one in all: one.start()
for line in sys.stdin:
    if line.strip() == 'end': break
    with lock: print(json.dumps({'good': good, 'bad': bad}), flush=True)
going = False
for one in all: one.join()
print(json.dumps({'good': good, 'bad': bad}), flush=True)
`;

export function requests(netns: string, ip: string, port = 9000, perConnection = 1, threads = 4): Requests {
  const args = ['python3', '-c', program, ip, String(port), String(perConnection), String(threads)];
  const child = spawn('nsenter', [`--net=/run/netns/${netns}`, '--', ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  const waiting: ((line: string) => void)[] = [];
  child.stdout.on('data', (bytes: Buffer) => {
    text += bytes.toString();
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) waiting.shift()?.(line);
  });
  const ask = async (word: string): Promise<Counts> => {
    const line = new Promise<string>((resolve) => waiting.push(resolve));
    child.stdin.write(`${word}\n`);
    return JSON.parse(await line) as Counts;
  };
  return {
    counts: () => ask('counts'),
    end: async () => {
      const exited = once(child, 'exit');
      const last = await ask('end');
      await exited;
      return last;
    },
  };
}
