/** The demo's steps. Each measures what it claims, in this run; its evidence is what it found. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ConnectionRecord } from '../../telemetry/access-log.js';
import { programs, run, sh, sleep, until } from '../run.js';
import type { Bed } from '../standalone/bed.js';
import { underlayNetns } from '../standalone/topology.js';

export interface Step {
  readonly name: string;
  /** What a newcomer reads. */
  readonly title: string;
  readonly run: (stage: Stage) => Promise<Record<string, unknown>>;
  /** One sentence from the evidence. */
  readonly tell: (evidence: Record<string, unknown>) => string;
}

const marker = 'weft-demo-payload-7f3a91';
const apiIp = '10.244.2.10';
const apiVip = '10.96.0.10';
const apiVip6 = 'fd00:96::10';
const cacheVip = '10.96.0.12';
const id = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;
const probePath = join(dirname(fileURLToPath(import.meta.url)), 'probe.js');

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
  wait(event: string, timeoutMs = 5_000): Promise<ProbeEvent> {
    return until(
      `the application sees "${event}" (so far: ${this.events.map((e) => e.event).join(' ')})`,
      timeoutMs,
      () => this.find(event),
    );
  }
  /** Sends a line and waits for an answer. */
  async ask(line: string): Promise<string> {
    const before = this.events.length;
    this.#child.stdin?.write(line);
    const answer = await until('an answer on the live connection', 5_000, () =>
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

export class Stage {
  readonly lives: Live[] = [];
  live: Live | undefined;

  constructor(
    readonly bed: Bed,
    /** The manifests that the control plane watches. */
    readonly manifests: string,
    readonly state: string,
  ) {}

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
    const path = join(this.bed.runDir(node), 'connections.log');
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
    return until(`the agent of ${node} has logged ${what}`, 5_000, () =>
      this.records(node).slice(after).find(find),
    );
  }

  /** Captures the underlay while `action` runs; the packets' payloads as text. */
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
    let said = '';
    tcpdump.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()));
    await until('tcpdump listens', 5_000, () => said.includes('listening on'));
    await action();
    await sleep(150);
    const closed = new Promise((resolve) => tcpdump.once('close', resolve));
    tcpdump.kill('SIGINT');
    await closed;
    return readFileSync(file, 'latin1');
  }

  async certificates(node: string, netns: string): Promise<{ id: string; serial: string }[]> {
    const { stdout } = await run(netns, 'curl', ['-sS', '-m', '4', 'http://127.0.0.1:15000/certificates']);
    const list = JSON.parse(stdout) as { id: string; serial?: string }[];
    assert.ok(list.length > 0, `${node} has certificates`);
    return list.map(({ id: name, serial }) => ({ id: name, serial: serial ?? '' }));
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
  server { listen [::]:8080 ipv6only=off; root ${nginx}/html; add_header X-Client "$remote_addr"; } }
`,
    );
    const redis = (name: string, netns: string): void => {
      const dir = join(this.state, `redis-${name}`);
      mkdirSync(dir, { recursive: true });
      this.bed.start(name, netns, 'redis-server', [
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
    this.bed.start('nginx', 'weft-api', 'nginx', [
      '-c',
      join(nginx, 'nginx.conf'),
      '-e',
      join(nginx, 'error.log'),
    ]);
    redis('redis-api', 'weft-api');
    redis('redis-cache', 'weft-cache');
  }
}

const namespace = (labels: string): string =>
  `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { ${labels} } }\n`;
const enrolled = { 'node-a': 3, 'node-b': 1 };

const denyIntruder = `apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-intruder, namespace: shop }
spec:
  action: DENY
  rules:
    - from: [{ serviceAccounts: [shop/intruder] }]
`;

const refused = (result: { code: number }): boolean => [7, 28, 35, 52, 56].includes(result.code);

export const steps: readonly Step[] = [
  {
    name: 'plain-before-enrolment',
    title: 'Two nodes, no mesh yet: web calls api, and anyone on the wire can read it',
    run: async (stage) => {
      let body = '';
      const wire = await stage.wire(async () => {
        body = (
          await until('nginx answers', 5_000, async () => {
            const answer = await stage.curl('weft-web', `http://${apiIp}:8080/`);
            return answer.code === 0 ? answer : undefined;
          })
        ).stdout.trim();
      });
      assert.equal(body, marker);
      assert.ok(wire.includes(marker), 'the payload is on the wire');
      stage.live = stage.connect('weft-web', apiIp, 6379);
      await stage.live.wait('connected');
      const answer = await stage.live.ask('PING\r\n');
      return { body, payloadOnWire: true, liveConnection: answer.trim() };
    },
    tell: () => 'the answer came, and a capture between the nodes holds it in clear',
  },
  {
    name: 'enrol-keeps-live-connection',
    title: 'Label the namespace weft.dev/mesh=enabled: no restart, and a connection that was open stays open',
    run: async (stage) => {
      const started = Date.now();
      stage.write('namespace.yaml', namespace('weft.dev/mesh: enabled'));
      await stage.bed.waitReady(enrolled);
      const tookMs = Date.now() - started;
      const answer = (await stage.live?.ask('PING\r\n'))?.trim();
      assert.equal(answer, '+PONG');
      stage.live?.end();
      return { podsEnrolled: 4, tookMs, liveConnectionAnswers: answer };
    },
    tell: (e) =>
      `4 pods in the mesh after ${String(e['tookMs'])} ms; redis still answers ${String(e['liveConnectionAnswers'])} on the old connection`,
  },
  {
    name: 'cross-node-mtls',
    title:
      'web calls the service api on the other node: mutual TLS by workload identity, and the wire shows nothing',
    run: async (stage) => {
      const [a, b] = [stage.records('node-a').length, stage.records('node-b').length];
      let body = '';
      const wire = await stage.wire(async () => {
        const answer = await stage.curl('weft-web', `http://${apiVip}/`);
        body = answer.stdout.trim();
      });
      assert.equal(body, marker);
      assert.ok(wire.length > 1000, 'the capture holds packets');
      assert.ok(!wire.includes(marker), 'no payload on the wire');
      const out = await stage.record('node-a', 'the tunnel', a, ({ path }) => path === 'hbone');
      const inn = await stage.record('node-b', 'the tunnel', b, ({ path }) => path === 'inbound-hbone');
      assert.equal(inn.source.identity, id('web'));
      assert.equal(out.destination.identity, id('api'));
      return {
        sourceIdentity: inn.source.identity,
        destinationIdentity: out.destination.identity,
        payloadOnWire: false,
        capturedBytes: wire.length,
        path: out.path,
        why: out.why,
      };
    },
    tell: (e) =>
      `${String(e['sourceIdentity'])} -> ${String(e['destinationIdentity'])}; ${String(e['capturedBytes'])} bytes captured, no payload among them`,
  },
  {
    name: 'same-node',
    title: 'web calls cache on its own node: one agent joins them, identity and policy kept',
    run: async (stage) => {
      const a = stage.records('node-a').length;
      const live = stage.connect('weft-web', cacheVip, 6379);
      await live.wait('connected');
      const answer = (await live.ask('PING\r\n')).trim();
      live.end();
      const record = await stage.record('node-a', 'the connection', a, ({ path }) => path === 'local');
      assert.equal(record.destination.identity, id('cache'));
      return {
        answer,
        path: record.path,
        why: record.why,
        sourceIdentity: record.source.identity,
        destinationIdentity: record.destination.identity,
      };
    },
    tell: (e) =>
      `path ${String(e['path'])}, ${String(e['sourceIdentity'])} -> ${String(e['destinationIdentity'])}`,
  },
  {
    name: 'addresses-preserved',
    title: 'Neither side can tell: the client sees the address it dialled, the server sees the client',
    run: async (stage) => {
      const server = new Live('weft-api', ['listen', '9000']);
      stage.lives.push(server);
      await server.wait('listening');
      const client = stage.connect('weft-web', apiVip, 9000);
      const connected = await client.wait('connected');
      await client.ask('hello');
      const accepted = await server.wait('accepted');
      assert.equal(connected.peer, `${apiVip}|9000`);
      assert.equal(connected.local?.split('|')[0], '10.244.1.10');
      assert.equal(accepted.peer?.replace('::ffff:', ''), connected.local);
      client.end();
      server.end();
      return {
        clientSeesPeer: connected.peer,
        clientSeesItself: connected.local,
        serverSeesClient: accepted.peer,
        serverSeesItself: accepted.local,
      };
    },
    tell: (e) => `client: ${String(e['clientSeesPeer'])}, server: ${String(e['serverSeesClient'])}`,
  },
  {
    name: 'deny-by-identity',
    title: 'A policy denies the identity of intruder, wherever it calls from',
    run: async (stage) => {
      const before = await stage.curl('weft-intruder', `http://${apiVip}/`);
      assert.equal(before.code, 0, 'intruder is allowed before');
      stage.write('policy.yaml', denyIntruder);
      const b = stage.records('node-b').length;
      await until('intruder is refused', 5_000, async () =>
        refused(await stage.curl('weft-intruder', `http://${apiVip}/`)),
      );
      const record = await stage.record(
        'node-b',
        'the denial',
        b,
        (r) => r.path === 'refused' && r.source.identity === id('intruder'),
      );
      assert.equal(record.policy, 'shop/no-intruder');
      const other = await stage.curl('weft-web', `http://${apiVip}/`);
      assert.equal(other.code, 0, 'web is allowed');
      return {
        policy: record.policy,
        rule: record.rule,
        sourceIdentity: record.source.identity,
        destinationIdentity: record.destination.identity,
        why: record.why,
        webStillAllowed: true,
      };
    },
    tell: (e) => `${String(e['sourceIdentity'])} refused: ${String(e['why'])}; web is still served`,
  },
  {
    name: 'policy-change-cuts-only-forbidden',
    title: 'The same policy applied under live traffic cuts what it forbids, and nothing else',
    run: async (stage) => {
      stage.remove('policy.yaml');
      await until(
        'intruder is allowed again',
        5_000,
        async () => (await stage.curl('weft-intruder', `http://${apiVip}/`)).code === 0,
      );
      const lives = {
        web: stage.connect('weft-web', apiVip, 6379),
        intruder: stage.connect('weft-intruder', apiVip, 6379),
        intruderSameNode: stage.connect('weft-intruder', cacheVip, 6379),
      };
      for (const live of Object.values(lives)) {
        await live.wait('connected');
        assert.equal((await live.ask('PING\r\n')).trim(), '+PONG');
      }
      const started = Date.now();
      stage.write('policy.yaml', denyIntruder);
      const cut = await lives.intruder.wait('error');
      const cutSameNode = await lives.intruderSameNode.wait('error');
      const cutAfterMs = Date.now() - started;
      assert.equal((await lives.web.ask('PING\r\n')).trim(), '+PONG');
      assert.equal(lives.web.closed, false);
      lives.web.end();
      stage.remove('policy.yaml');
      return {
        forbiddenSaw: cut.code,
        forbiddenSameNodeSaw: cutSameNode.code,
        cutAfterMs,
        allowedAnswers: '+PONG',
      };
    },
    tell: (e) =>
      `intruder's connections saw ${String(e['forbiddenSaw'])} ${String(e['cutAfterMs'])} ms after the change; web's went on`,
  },
  {
    name: 'certificate-rotation',
    title: 'The root is replaced in three phases; certificates change, connections do not notice',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      const serials: string[] = [];
      const serial = async (): Promise<string> =>
        (await stage.certificates('node-a', 'weft-node-a')).find((c) => c.id === id('web'))?.serial ?? '';
      serials.push(await serial());
      for (const phase of ['begin', 'switch', 'finish']) {
        sh(process.execPath, [
          programs.control,
          'rotate-root',
          '--state',
          stage.bed.controlState(),
          '--phase',
          phase,
        ]);
        const before = serials.at(-1);
        await until(`new certificates after ${phase}`, 8_000, async () => {
          const now = await serial();
          return now !== '' && now !== before ? now : undefined;
        }).then((now) => serials.push(now));
        // Both nodes have theirs before the next phase: that is what the phases are for.
        await sleep(700);
        assert.equal((await live.ask('PING\r\n')).trim(), '+PONG', phase);
        const fresh = await stage.curl('weft-web', `http://${apiVip}/`);
        assert.equal(fresh.stdout.trim(), marker, `a new connection after ${phase}`);
      }
      assert.equal(new Set(serials).size, 4);
      live.end();
      return { serials, liveConnectionAnswers: '+PONG', newConnectionsInEachPhase: true };
    },
    tell: (e) =>
      `web had ${(e['serials'] as string[]).length} certificates under two roots; one connection lived through all of them`,
  },
  {
    name: 'agent-restart',
    title:
      'kill -9 of an agent: its proxied connections reset, new ones are refused, nothing slips by in clear',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      await stage.bed.stop('agent-node-a', 'SIGKILL');
      const reset = await live.wait('error');
      const during = await stage.curl('weft-web', `http://${apiIp}:8080/`);
      assert.equal(during.code, 7, 'refused at once');
      const inbound = await stage.curl('weft-api', 'http://10.244.1.12:6379/');
      assert.ok(refused(inbound), 'nobody gets into its pods either');
      stage.bed.startAgent('node-a');
      await stage.bed.waitReady(enrolled);
      const after = await until('all works again', 5_000, async () => {
        const answer = await stage.curl('weft-web', `http://${apiVip}/`);
        return answer.code === 0 ? answer : undefined;
      });
      assert.equal(after.stdout.trim(), marker);
      return {
        liveConnectionSaw: reset.code,
        newConnectionWhileDead: 'ECONNREFUSED',
        inboundWhileDead: 'refused',
        afterRestart: after.stdout.trim(),
      };
    },
    tell: (e) =>
      `live: ${String(e['liveConnectionSaw'])}; new while dead: ${String(e['newConnectionWhileDead'])}; after the restart all works`,
  },
  {
    name: 'control-plane-away',
    title: 'The control plane is gone: everything goes on; what changed meanwhile is caught up',
    run: async (stage) => {
      await stage.bed.stop('control', 'SIGKILL');
      const during = await stage.curl('weft-web', `http://${apiVip}/`);
      assert.equal(during.stdout.trim(), marker);
      stage.write('policy.yaml', denyIntruder);
      await sleep(500);
      const unaware = await stage.curl('weft-intruder', `http://${apiVip}/`);
      assert.equal(unaware.code, 0, 'the last state is kept');
      await stage.bed.startControl();
      await until('the change has arrived', 15_000, async () =>
        refused(await stage.curl('weft-intruder', `http://${apiVip}/`)),
      );
      stage.remove('policy.yaml');
      await until(
        'and so has the next',
        5_000,
        async () => (await stage.curl('weft-intruder', `http://${apiVip}/`)).code === 0,
      );
      return { newConnectionWhileAway: during.stdout.trim(), changeAppliedAfterReturn: true };
    },
    tell: () => 'new connections worked without it; a policy written meanwhile held once it was back',
  },
  {
    name: 'ipv6',
    title: 'The same by IPv6',
    run: async (stage) => {
      const [a, b] = [stage.records('node-a').length, stage.records('node-b').length];
      const answer = await stage.curl('weft-web', `http://[${apiVip6}]/`);
      assert.equal(answer.stdout.trim(), marker);
      const out = await stage.record(
        'node-a',
        'the tunnel',
        a,
        (r) => r.path === 'hbone' && r.destination.address.startsWith('[fd00:'),
      );
      const inn = await stage.record(
        'node-b',
        'the tunnel',
        b,
        (r) => r.path === 'inbound-hbone' && r.destination.address.startsWith('[fd00:'),
      );
      assert.match(out.destination.address, /^\[fd00:244:2::10\]/);
      return { path: out.path, destination: out.destination.address, sourceIdentity: inn.source.identity };
    },
    tell: (e) => `path ${String(e['path'])} to ${String(e['destination'])}`,
  },
  {
    name: 'unenrol',
    title: 'Take the label away: traffic is as it was, and an open connection is not cut',
    run: async (stage) => {
      const live = stage.connect('weft-web', apiVip, 6379);
      await live.wait('connected');
      stage.write('namespace.yaml', namespace('weft.dev/mesh: disabled'));
      await stage.bed.waitReady({ 'node-a': 0, 'node-b': 0 });
      assert.equal((await live.ask('PING\r\n')).trim(), '+PONG');
      let body = '';
      const wire = await stage.wire(async () => {
        body = (await stage.curl('weft-web', `http://${apiIp}:8080/`)).stdout.trim();
      });
      assert.equal(body, marker);
      assert.ok(wire.includes(marker), 'in clear again');
      live.end();
      return { liveConnectionAnswers: '+PONG', payloadOnWire: true };
    },
    tell: () => 'in clear again, and the tunnelled connection still answers',
  },
];
