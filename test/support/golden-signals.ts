/** A node whose namespace `shop` has golden signals, with a server whose messages the test decides, and what the mesh says about their requests. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cgroupRoot } from '../../daemonset/datapath/loader.js';
import { nodeSlots } from '../../daemonset/maps/rows.generated.js';
import { until } from '../../src/base/wait.js';
import { askState } from '../../src/cli/control-admin.js';
import { edgesQuestion } from '../../src/cli/edges/edges-question.js';
import { cache, client, KernelTestbed } from './kernel-testbed.js';

/** Namespace `quiet` has not opted in; its pod on node-a calls pods of `shop`, and is called. */
export const [quiet, quietServer] = ['10.244.1.40', '10.244.1.41'];
const quietPods = `kind: Namespace
metadata: { name: quiet, labels: { weft.dev/mesh: enabled } }
---
kind: Pod
metadata: { name: quiet, namespace: quiet, labels: { app: quiet }, annotations: { weft.dev/netns: weft-quiet } }
spec: { nodeName: node-a, serviceAccountName: quiet }
status: { podIPs: [{ ip: ${quiet} }] }
---
kind: Pod
metadata: { name: quiet-server, namespace: quiet, labels: { app: quiet-server }, annotations: { weft.dev/netns: weft-quiet-server } }
spec: { nodeName: node-a, serviceAccountName: quiet-server }
status: { podIPs: [{ ip: ${quietServer} }] }
`;
export const shop = (splice: 'on' | 'off', golden: 'enabled' | 'disabled' = 'enabled'): string =>
  `kind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/mode: strict, weft.dev/golden-signals: ${golden} }, annotations: { weft.dev/splice: "${splice}" } }\n`;

/** Sends what a line `ANSWER: base64,base64` of the request says, each part as a message; without one a 200. `ANSWER: close` ends the connection. */
const server = `
import asyncio, base64, re, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
ok = b'HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok'
async def serve(r, w):
    w.get_extra_info('socket').setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            head = await r.readuntil(b'\\r\\n\\r\\n')
            body = re.search(rb'(?i)content-length: (\\d+)', head)
            if body: await r.readexactly(int(body.group(1)))
            answer = re.search(rb'ANSWER: (\\S*)', head)
            if answer and answer.group(1) == b'close': break
            for part in (base64.b64decode(p) for p in answer.group(1).split(b',')) if answer else [ok]:
                w.write(part); await w.drain(); await asyncio.sleep(0.02)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError): pass
    w.close()
async def main():
    listener = socket.create_server(('::', 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    served = await asyncio.start_server(serve, sock=listener, limit=1 << 20)
    await served.serve_forever()
asyncio.run(main())
`;
/** A message of the client, and how many bytes of the response are read after it. */
export type Message = readonly [bytes: string, answer?: number];
export const okBytes = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'.length;
export const get = (path: string, ...answer: readonly string[]): string =>
  `GET ${path} HTTP/1.1\r\nhost: x\r\n${answer.length === 0 ? '' : `ANSWER: ${answer.map((one) => (one === 'close' ? one : Buffer.from(one).toString('base64'))).join(',')}\r\n`}\r\n`;

export interface Count {
  readonly method: string;
  readonly path: string;
  readonly requests: number;
  readonly failures: number;
  readonly reporter: string;
  readonly from: string;
}
const pinsOf = (map: string): string[] =>
  execFileSync('find', ['/sys/fs/bpf/weft', '-name', map], { encoding: 'utf8' }).trim().split('\n');
/** Entries of a map in all generations. */
export const entriesOf = (map: string): unknown[] =>
  pinsOf(map).flatMap(
    (pin) =>
      JSON.parse(
        execFileSync('bpftool', ['-j', 'map', 'dump', 'pinned', pin], {
          encoding: 'utf8',
          maxBuffer: 1 << 28,
        }),
      ) as unknown[],
  );
/** The templates of the entries that wait for the agent. Empty: the path is not told apart. */
export const waitingTemplates = (): string[] =>
  (
    entriesOf('weft_requests') as { readonly formatted: { readonly key: { readonly template: number[] } } }[]
  ).map(({ formatted }) => String.fromCharCode(...formatted.key.template.filter((byte) => byte !== 0)));
/** Has the programs take it that they have made so many entries since the agent took them out. */
export function setMade(entries: number): void {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(nodeSlots.requests);
  const bytes = (buffer: Buffer): string[] => [...buffer].map(String);
  for (const pin of pinsOf('weft_node')) {
    const slot = ['pinned', pin, 'key', ...bytes(key)];
    const { value } = JSON.parse(
      execFileSync('bpftool', ['-j', 'map', 'lookup', ...slot], { encoding: 'utf8' }),
    ) as { readonly value: readonly string[] };
    // The turn, in the high half, stays as it is.
    const now = Buffer.from(value.map(Number));
    now.writeUInt32LE(entries);
    execFileSync('bpftool', ['map', 'update', ...slot, 'value', ...bytes(now)]);
  }
}

const sendingCode = (ip: string, list: string, blocking: boolean): string =>
  blocking
    ? `import json, base64, signal
s = socket.create_connection(('${ip}', 8080)); s.settimeout(None); signal.alarm(20); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for text, n in json.loads('${list}'):
    s.sendall(base64.b64decode(text)); time.sleep(0.02)
    while n > 0:
        d = s.recv(n)
        if not d: break
        n -= len(d)
s.close(); print('done')`
    : `import json, base64, asyncio, signal
signal.alarm(20)
async def main():
    r, w = await asyncio.open_connection('${ip}', 8080)
    w.get_extra_info('socket').setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for text, n in json.loads('${list}'):
        w.write(base64.b64decode(text)); await w.drain(); await asyncio.sleep(0.02)
        try: await r.readexactly(n)
        except asyncio.IncompleteReadError: pass
    w.close()
asyncio.run(main()); print('done')`;

/** Whether the program that looks at packets is attached, here: testbeds beside this one have theirs. */
export const isObserving = (): boolean =>
  /cgroup_inet_egress/.test(execFileSync('bpftool', ['cgroup', 'show', cgroupRoot()], { encoding: 'utf8' }));

export class GoldenSignalsTestbed extends KernelTestbed {
  #markers = 0;

  constructor(private readonly stateDir: string) {
    super(stateDir);
  }

  override async up(): Promise<void> {
    this.write('quiet.yaml', quietPods);
    await super.up();
    for (const pod of ['cache', 'quiet-server'])
      this.testbed.start(`${pod}-http`, `weft-${pod}`, 'python3', ['-c', server]);
    await this.optIn('on');
    for (const [from, to] of [
      ['web', cache],
      ['quiet', cache],
      ['quiet', quietServer],
      ['web', quietServer],
    ] as const)
      await this.#warmHttp(from, to);
  }

  readonly optIn = async (splice: 'on' | 'off'): Promise<void> => {
    this.write('namespace.yaml', shop(splice));
    await until('the program is attached', 30_000, isObserving);
  };

  /** The first connection of a pair asks for the verdict. */
  async #warmHttp(from: string, ip: string): Promise<void> {
    await until(`the server of ${ip} listens`, 30_000, async () => {
      const code = `socket.create_connection(('${ip}', 8080), 4).close(); print('ok')`;
      if ((await client(`weft-${from}`, code)) !== 'ok') return false;
      await this.warm(`weft-${from}`, ip, 8080);
      return true;
    });
  }

  /** Sends messages on one connection. `blocking`: the client's socket blocks, as that of a simple program does. */
  readonly send = async (
    from: string,
    ip: string,
    messages: readonly Message[],
    { blocking = false }: { readonly blocking?: boolean } = {},
  ): Promise<void> => {
    const list = JSON.stringify(
      messages.map(([text, bytes = 0]) => [Buffer.from(text, 'latin1').toString('base64'), bytes]),
    );
    assert.equal(
      await client(`weft-${from}`, sendingCode(ip, list, blocking), 60_000),
      'done',
      JSON.stringify(messages),
    );
  };

  /** What the control plane knows of requests toward a workload. */
  readonly counted = async (to: string): Promise<Count[]> => {
    const { edges } = await askState(this.stateDir, edgesQuestion({ sinceMs: 0 }));
    return edges
      .filter(({ destination, method }) => destination.workload === to && method !== '')
      .map(({ method, pathTemplate: path, counts, reporter, source }) => ({
        ...{ method, path, reporter, from: source.workload },
        requests: counts.requests,
        failures: counts.failures,
      }));
  };

  /** Waits until the requests before it are counted. They are there once a later request is, since all are taken out at once. */
  readonly settle = async (): Promise<void> => {
    const name = `settled-${[...String(++this.#markers)].map((d) => 'abcdefghij'[Number(d)]).join('')}`;
    await this.send('web', cache, [[get(`/${name}`), okBytes]]);
    await until(`the marker ${name}`, 60_000, async () =>
      (await this.counted('cache')).some(({ path }) => path === `/${name}`),
    );
  };

  /** Requests with this template, by the client's report or the server's. */
  readonly of = async (path: string, reporter = 'source'): Promise<number> =>
    (await this.counted('cache'))
      .filter((one) => one.path === path && one.reporter === reporter)
      .reduce((sum, { requests }) => sum + requests, 0);
}
