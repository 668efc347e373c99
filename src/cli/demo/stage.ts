/** The environment of the demo steps: the testbed, the applications and their output, and the logs of the agents. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ConnectionRecord } from '../../telemetry/connection-record.js';
import { adminGet, adminPort } from '../admin.js';
import { sleep, until } from '../../base/wait.js';
import { run } from '../run.js';
import type { Testbed } from '../standalone/testbed.js';
import { underlayNetns } from '../standalone/topology.js';

export interface Step {
  readonly name: string;
  /** Title for readers without prior knowledge. */
  readonly title: string;
  readonly run: (stage: Stage) => Promise<Record<string, unknown>>;
  /** One sentence that summarizes the evidence. */
  readonly summary: (evidence: Record<string, unknown>) => string;
}

export const marker = 'weft-demo-payload-7f3a91';
export const apiIp = '10.244.2.10';
export const apiVip = '10.96.0.10';
export const apiVip6 = 'fd00:96::10';
export const cacheVip = '10.96.0.12';
export const cacheIp = '10.244.1.12';
export const id = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;
/** The manifest of the demo's namespace. */
export const namespace = (labels: string): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { ${labels} }, annotations: { weft.dev/splice: 'on' } }\n`;
/** Number of pods by node once all are enrolled. */
export const enrolled = { 'node-a': 5, 'node-b': 2 };
export const denyIntruder = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-intruder, namespace: shop }
spec:
  action: DENY
  rules:
    - from: [{ serviceAccounts: [shop/intruder] }]
`;

export const pong = '+PONG';
/** Errors that an application sees when the mesh refuses its connection. */
export const turnedAway = ['ECONNREFUSED', 'ECONNRESET'];
/** Directory of the demo's own programs. */
export const here = dirname(fileURLToPath(import.meta.url));
const probePath = join(here, 'probe.js');

interface ProbeEvent {
  readonly event: string;
  readonly peer?: string;
  readonly local?: string;
  readonly text?: string;
  readonly code?: string;
}

/** A connection that an application holds open. */
export class Live {
  readonly events: ProbeEvent[] = [];
  readonly #child: ChildProcess;
  #rest = '';

  constructor(netns: string, args: readonly string[]) {
    this.#child = spawn(
      'nsenter',
      [`--net=/run/netns/${netns}`, '--', process.execPath, probePath, ...args],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
      },
    );
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      const lines = (this.#rest + bytes.toString()).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.events.push(JSON.parse(line) as ProbeEvent);
    });
  }
  find(event: string): ProbeEvent | undefined {
    return this.events.find((one) => one.event === event);
  }
  wait(event: string, timeoutMs = 20_000): Promise<ProbeEvent> {
    return until(
      `the application sees "${event}" (so far: ${this.events.map((e) => e.event).join(' ')})`,
      timeoutMs,
      () => this.find(event),
    );
  }
  send(line: string): void {
    this.#child.stdin?.write(line);
  }
  /** Sends a line and waits for the response. */
  async ask(line: string): Promise<string> {
    const before = this.events.length;
    this.send(line);
    const answer = await until('a response on the live connection', 20_000, () =>
      this.events.slice(before).find(({ event }) => event !== 'connected'),
    );
    assert.equal(answer.event, 'data', `the live connection saw ${answer.event} ${answer.code ?? ''}`);
    return answer.text ?? '';
  }
  get closed(): boolean {
    return this.find('error') !== undefined || this.find('end') !== undefined;
  }
  end(): void {
    this.#child.kill();
  }
}

/**
 * A request from web every 10 ms, over at most `connectionsMax` persistent connections: as many are under way when responses take longer.
 * `stop` returns their results.
 */
export function load(
  url: string,
  connectionsMax = 8,
  headers: Readonly<Record<string, string>> = {},
): {
  /** Number of responses so far. */
  answered(): number;
  stop(): Promise<{ answered: number; failures: Record<string, number>; by: Record<string, number> }>;
} {
  const child = spawn(
    'nsenter',
    [
      '--net=/run/netns/weft-web',
      '--',
      ...[
        process.execPath,
        join(here, 'load.js'),
        url,
        '10',
        String(connectionsMax),
        JSON.stringify(headers),
      ],
    ],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  );
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const closed = new Promise((resolve) => child.once('close', resolve));
  const dots = (): number => (output + '\n').indexOf('\n');
  return {
    answered: dots,
    stop: async () => {
      child.stdin.end();
      await closed;
      return JSON.parse(output.slice(dots())) as Awaited<ReturnType<ReturnType<typeof load>['stop']>>;
    },
  };
}

/** A capture is whole once it has not grown for this long. */
const quietMsMin = 250;

export class Stage {
  readonly lives: Live[] = [];
  live: Live | undefined;

  constructor(
    readonly testbed: Testbed,
    /** Directory of manifests that the control plane watches. */
    readonly manifests: string,
    readonly state: string,
  ) {}

  /** Ends the connections of the stage. The testbed ends the programs. */
  end(): void {
    this.testbed.close();
    for (const live of this.lives) live.end();
    this.#capture?.kill('SIGKILL');
  }

  #capture: ChildProcess | undefined;

  /** Connects to a redis and sends PING. Returns the response, or the error that the application sees. */
  async ping(netns: string, ip: string, port: number): Promise<string> {
    const live = this.connect(netns, ip, port);
    live.send('PING\r\n');
    const seen = await until(`an outcome of ${netns} to ${ip} port ${port}`, 30_000, () =>
      live.events.find(({ event }) => event !== 'connected'),
    );
    live.end();
    return seen.text?.trim() ?? seen.code ?? seen.event;
  }

  connect(netns: string, ip: string, port: number): Live {
    const live = new Live(netns, ['connect', ip, String(port)]);
    this.lives.push(live);
    return live;
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.manifests, file), text);
  }
  remove(file: string): void {
    rmSync(join(this.manifests, file), { force: true });
  }

  curl(netns: string, url: string): Promise<{ code: number; stdout: string }> {
    return run(netns, 'curl', ['-sS', '-m', '4', '--noproxy', '*', url]);
  }

  /** Connections that an agent has logged as ended, newest last. */
  records(node: string): ConnectionRecord[] {
    const path = join(this.testbed.runDir(node), 'connections.log');
    if (!existsSync(path)) return [];
    return readFileSync(path, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as ConnectionRecord);
  }

  record(
    node: string,
    what: string,
    after: number,
    find: (record: ConnectionRecord) => boolean,
  ): Promise<ConnectionRecord> {
    return until(`the agent of ${node} has logged ${what}`, 20_000, () =>
      this.records(node).slice(after).find(find),
    );
  }

  /** Captures the underlay network while `action` runs. Returns the payloads of the packets as text. */
  async wire(action: () => Promise<unknown>): Promise<string> {
    const file = join(this.state, 'wire.pcap');
    rmSync(file, { force: true });
    const tcpdump = spawn(
      'nsenter',
      [
        `--net=/run/netns/${underlayNetns}`,
        '--',
        'tcpdump',
        '-i',
        'n0',
        '-U',
        '--immediate-mode',
        '-s',
        '0',
        '-w',
        file,
        'tcp',
      ],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    this.#capture = tcpdump;
    let output = '';
    tcpdump.stderr.on('data', (bytes: Buffer) => (output += bytes.toString()));
    await until('tcpdump listens', 20_000, () => output.includes('listening on'));
    await action();
    // tcpdump writes what it has seen by then, which takes it longer on a machine under load.
    let [bytes, quietMs] = [-1, 0];
    for (let waitedMs = 0; quietMs < quietMsMin && waitedMs < 5_000; waitedMs += 50) {
      await sleep(50);
      const now = statSync(file).size;
      quietMs = now > bytes ? 0 : quietMs + 50;
      bytes = now;
    }
    const closed = new Promise((resolve) => tcpdump.once('close', resolve));
    tcpdump.kill('SIGINT');
    await closed;
    return readFileSync(file, 'latin1');
  }

  /** Number of decisions of the eBPF programs of a node so far, by reason. */
  async counters(node: string): Promise<Record<string, number>> {
    const netns = this.testbed.topology.nodes.find(({ name }) => name === node)?.netns ?? '';
    const dump = JSON.parse(await adminGet(netns, adminPort, '/dump')) as { kernel: Record<string, number> };
    return dump.kernel;
  }

  /** Serial numbers of the certificates that the agents serve, by node and identity. */
  async serials(): Promise<Map<string, string>> {
    const all = new Map<string, string>();
    for (const { name, netns } of this.testbed.topology.nodes) {
      const body = await adminGet(netns, adminPort, '/certificates');
      const list = JSON.parse(body) as { id: string; serial?: string }[];
      assert.ok(list.length > 0, `${name} has certificates`);
      for (const one of list) all.set(`${name} ${one.id}`, one.serial ?? '');
    }
    return all;
  }

  startApplications(): void {
    const nginx = join(this.state, 'nginx');
    mkdirSync(join(nginx, 'html'), { recursive: true });
    writeFileSync(join(nginx, 'html', 'index.html'), `${marker}\n`);
    writeFileSync(
      join(nginx, 'nginx.conf'),
      `user root; daemon off; pid ${nginx}/pid; error_log ${nginx}/error.log;
events {}
http { access_log off; client_body_temp_path ${nginx}; proxy_temp_path ${nginx}; fastcgi_temp_path ${nginx}; uwsgi_temp_path ${nginx}; scgi_temp_path ${nginx};
  server { listen [::]:8080 ipv6only=off; root ${nginx}/html; add_header X-Client "$remote_addr";
    location /slow/ { alias ${nginx}/html/; limit_rate 256k; } } }
`,
    );
    const redis = (name: string, netns: string): void => {
      const dir = join(this.state, `redis-${name}`);
      mkdirSync(dir, { recursive: true });
      this.testbed.start(name, netns, 'redis-server', [
        '--port',
        '6379',
        '--bind',
        '*',
        '--protected-mode',
        'no',
        '--save',
        '',
        '--dir',
        dir,
      ]);
    };
    for (const version of ['v1', 'v2']) {
      this.testbed.start(`echo-${version}`, `weft-echo-${version}`, process.execPath, [
        join(here, 'echo.js'),
        `echo-${version}`,
        '8080',
      ]);
    }
    this.testbed.start('nginx', 'weft-api', 'nginx', [
      '-c',
      join(nginx, 'nginx.conf'),
      '-e',
      join(nginx, 'error.log'),
    ]);
    redis('redis-api', 'weft-api');
    redis('redis-cache', 'weft-cache');
    redis('redis-cache-2', 'weft-cache-2');
  }
}
