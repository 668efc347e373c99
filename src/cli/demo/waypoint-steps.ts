/** The demo's steps about waypoints: HTTP read between the tunnels, and no way around whoever reads it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sleep, until } from '../../base/wait.js';
import { parseSpiffeId } from '../../model/identity.js';
import { assembleSvid } from '../../tls/certificate.js';
import { issueSvid } from '../../tls/issue.js';
import { createCsr, parseCsr } from '../../tls/csr.js';
import { distRoot, run } from '../run.js';
import {
  accessLogOf,
  startWaypoint,
  stopWaypoint,
  waypointProcess,
  type WaypointReplica,
} from '../standalone/waypoint.js';
import { here, id, load, type Stage, type Step } from './stage.js';

/** The same files that docs/waypoint.md shows. */
const examples = join(dirname(distRoot), 'docs', 'examples', 'waypoint');
export const waypointExample = (name: string): string => readFileSync(join(examples, `${name}.yaml`), 'utf8');

const place: WaypointReplica = {
  namespace: 'shop',
  name: 'waypoint',
  node: 'node-b',
  flags: ['--access-log-mode', 'all', '--drain-ms', '10000', '--drain-delay-ms', '2000'],
};
const second: WaypointReplica = { ...place, node: 'node-a', replica: 1 };
const vip = '10.96.0.20';
const vip6 = 'fd00:96::20';
/** Of both versions: one on web's own node, one on the other. */
const pods = ['10.244.1.60', '10.244.2.60', '[fd00:244:1::60]', '[fd00:244:2::60]'];

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly error: string;
}

/** curl's own limits end it; many requests at once take their time on an emulated machine. */
const askMsMax = 90_000;
async function ask(netns: string, url: string, ...more: readonly string[]): Promise<Answer> {
  const args = ['-sS', '-m', '6', '--noproxy', '*', '--path-as-is', '-w', '\n%{http_code}', ...more, url];
  const { stdout, stderr } = await run(netns, 'curl', args, askMsMax);
  const at = stdout.lastIndexOf('\n');
  return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at).trim(), error: stderr.trim() };
}
const podOf = ({ body }: Answer): string => (JSON.parse(body) as { pod: string }).pod;

/** Lines of the waypoint's access log. */
function requests(stage: Stage, from = place): Record<string, unknown>[] {
  const path = accessLogOf(stage.testbed, from);
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
function request(
  stage: Stage,
  what: string,
  find: (line: Record<string, unknown>) => boolean,
): Promise<Record<string, unknown>> {
  return until(`the waypoint has logged ${what}`, 5_000, () => requests(stage).findLast(find));
}

/** A certificate that the mesh's own CA gave: what somebody holds who has broken into a node. */
function certificateOf(stage: Stage, account: string): string {
  const identity = parseSpiffeId(id(account));
  const { keyPem, csrPem } = createCsr(identity);
  const csr = parseCsr(csrPem);
  assert.ok(csr.ok);
  const file = (name: string): string => readFileSync(join(stage.testbed.controlState(), name), 'utf8');
  const leaf = issueSvid({
    caKeyPem: file('ca-key.pem'),
    caCertPem: file('ca-cert.pem'),
    csrPublicKeyPem: csr.value.publicKeyPem,
    id: identity,
    ttlS: 3600,
  });
  const path = join(stage.state, `stolen-${account}.json`);
  const svid = assembleSvid(identity, keyPem, [leaf, file('root-cert.pem')]);
  writeFileSync(path, JSON.stringify(svid), { mode: 0o600 });
  return path;
}

interface TunnelAnswer {
  readonly opened: boolean;
  readonly answer?: string;
  readonly code?: string;
  readonly why?: string;
}
async function tunnel(
  netns: string,
  svid: string,
  expected: string,
  ip: string,
  authority: string,
  ...claimed: readonly string[]
): Promise<TunnelAnswer> {
  const args = [join(here, 'tunnel.js'), svid, expected, ip, authority, ...claimed];
  const { stdout, stderr } = await run(netns, process.execPath, args, 15_000);
  return stdout === '' ? { opened: false, why: stderr } : (JSON.parse(stdout) as TunnelAnswer);
}

const refusedStatus = (answer: Answer): string =>
  answer.status === 0 ? answer.error.replace(/^curl: \(\d+\) /, '') : `HTTP ${answer.status}`;

export const waypointSteps: readonly Step[] = [
  {
    name: 'waypoint-split',
    title: 'A waypoint for the Service echo: nine of ten requests to v1, the tenth to v2',
    run: async (stage) => {
      const before = await ask('weft-web', `http://${vip}/`);
      assert.equal(before.status, 0, 'a Service that names a waypoint is closed until that is there');
      const missing = await stage.record('node-a', 'why', 0, ({ code }) => code === 'WEFT_WAYPOINT_MISSING');
      stage.write('gateway.yaml', waypointExample('gateway'));
      stage.write('split.yaml', waypointExample('split'));
      const started = Date.now();
      await startWaypoint(stage.testbed, place);
      const first = await until('echo answers', 10_000, async () => {
        const answer = await ask('weft-web', `http://${vip}/`);
        return answer.status === 200 && answer;
      });
      const tookMs = Date.now() - started;
      const { body } = await ask('weft-web', `http://${vip}/[1-500]`, '-m', '90');
      const counts = { 'echo-v1': 0, 'echo-v2': 0 };
      for (const [, pod] of body.matchAll(/"pod":"(echo-v[12])"/g)) counts[pod as keyof typeof counts]++;
      assert.equal(counts['echo-v1'] + counts['echo-v2'], 500);
      assert.ok(Math.abs(counts['echo-v1'] - 450) <= 25, `${counts['echo-v1']} of 500 went to v1`);
      const seen = JSON.parse(first.body) as { peer: string; headers: Record<string, string> };
      assert.equal(seen.headers['x-forwarded-for'], '10.244.1.10');
      return {
        beforeItWasThere: missing.code,
        answersAfterMs: tookMs,
        ...counts,
        applicationSawPeer: seen.peer,
        applicationSawClient: seen.headers['x-forwarded-client-cert'],
      };
    },
    tell: (e) =>
      `${String(e['echo-v1'])} and ${String(e['echo-v2'])} of 500; before it was there: ${String(e['beforeItWasThere'])}`,
  },
  {
    name: 'waypoint-header-route',
    title: 'Who sends x-canary: yes always gets v2',
    run: async (stage) => {
      const canaries = new Set<string>();
      for (let i = 0; i < 20; i++)
        canaries.add(podOf(await ask('weft-web', `http://${vip}/`, '-H', 'x-canary: yes')));
      assert.deepEqual([...canaries], ['echo-v2']);
      const http2 = podOf(
        await ask('weft-web', `http://${vip}/`, '--http2-prior-knowledge', '-H', 'X-Canary: yes'),
      );
      assert.equal(http2, 'echo-v2');
      const v6 = podOf(await ask('weft-web', `http://[${vip6}]/`, '-H', 'x-canary: yes'));
      assert.equal(v6, 'echo-v2');
      const line = await request(stage, 'it', ({ route }) => route === 'shop/echo/canary');
      return {
        canaries: 20,
        servedBy: [...canaries],
        http2,
        v6,
        route: line['route'],
        source: line['source'],
      };
    },
    tell: (e) => `20 of 20, by HTTP/2 and IPv6 alike; the log names rule ${String(e['route'])}`,
  },
  {
    name: 'waypoint-retry-and-timeout',
    title: 'What fails is tried again, what takes too long is given up, as the route says',
    run: async (stage) => {
      stage.write('retry.yaml', waypointExample('retry'));
      const key = `k${Date.now()}`;
      const answer = await until('the rule is in force', 10_000, async () => {
        const one = await ask('weft-web', `http://${vip}/flaky/${key}-${Date.now()}/2`);
        return one.status === 200 && one;
      });
      const line = await request(stage, 'it', ({ route }) => route === 'shop/echo-retry/flaky');
      assert.equal(line['attempts'], 3);
      // One more failure than it may try again.
      const tooMany = await ask('weft-web', `http://${vip}/flaky/${key}-more/4`);
      assert.equal(tooMany.status, 503);
      const post = await ask('weft-web', `http://${vip}/flaky/${key}-post/1`, '-d', 'x');
      assert.equal(post.status, 200, 'a status that the rule names is tried again, whatever the method');
      const started = Date.now();
      const slow = await ask('weft-web', `http://${vip}/slow/3000`);
      const gaveUpAfterMs = Date.now() - started;
      assert.equal(slow.status, 504);
      const timeout = await request(stage, 'the timeout', ({ flags }) => flags === 'UT');
      return {
        status: answer.status,
        attempts: line['attempts'],
        afterAllAttempts: tooMany.status,
        post: post.status,
        slow: slow.status,
        gaveUpAfterMs,
        flag: timeout['flags'],
      };
    },
    tell: (e) =>
      `two 503 and then 200 are one 200 to the client; 3 s became ${String(e['slow'])} after ${String(e['gaveUpAfterMs'])} ms`,
  },
  {
    name: 'waypoint-grpc',
    title: 'gRPC by method: Say goes to v2, a stream in both directions to v1',
    run: async (stage) => {
      stage.write('grpc.yaml', waypointExample('grpc'));
      return until('calls go where the route says', 15_000, async () => {
        const { stdout } = await run(
          'weft-web',
          process.execPath,
          [join(here, 'grpc.js'), `${vip}:7070`],
          15_000,
        );
        const { unary, stream } = JSON.parse(stdout || '{}') as {
          unary?: { answer?: string; code: number; by: string };
          stream?: { answers: string[]; code: number; by: string; seen: string };
        };
        if (unary?.by !== 'echo-v2' || stream?.by !== 'echo-v1') return undefined;
        assert.deepEqual(unary, { answer: 'hello', code: 0, by: 'echo-v2' });
        assert.deepEqual(stream, {
          answers: ['message 0', 'message 1', 'message 2'],
          code: 0,
          by: 'echo-v1',
          seen: '',
        });
        const line = await request(stage, 'the call', ({ path }) => path === '/demo.Echo/Say');
        return { unary, stream, route: line['route'], grpcStatus: line['grpcStatus'] };
      });
    },
    tell: () => 'answers, trailers and statuses came through; messages one by one as they were sent',
  },
  {
    name: 'waypoint-authorization',
    title: 'Of web only GET below /public, of intruder nothing: 403, and the log says why',
    run: async (stage) => {
      stage.write('access.yaml', waypointExample('access'));
      await until('the policy is in force', 10_000, async () => {
        const { status } = await ask('weft-web', `http://${vip}/admin`);
        return status === 403;
      });
      const allowed = await ask('weft-web', `http://${vip}/public/a`);
      assert.equal(allowed.status, 200);
      const tries: Record<string, readonly string[]> = {
        post: [`http://${vip}/public/a`, '-d', 'x'],
        otherPath: [`http://${vip}/admin`],
        dots: [`http://${vip}/public/../admin`],
        encodedDots: [`http://${vip}/public/%2e%2e/admin`],
        encodedSlash: [`http://${vip}/public/..%2fadmin`],
        encodedTwice: [`http://${vip}/public/%252e%252e%252fadmin`],
        backslash: [`http://${vip}/public/%5c..%5cadmin`],
        otherCase: [`http://${vip}/PUBLIC/a`],
      };
      const refused: Record<string, number> = {};
      for (const [name, [url = '', ...more]] of Object.entries(tries)) {
        const answer = await ask('weft-web', url, ...more);
        refused[name] = answer.status;
        assert.ok([400, 403].includes(answer.status), `${name}: ${answer.status} ${answer.body}`);
        assert.equal(answer.body, '', 'the client is told nothing else');
      }
      const intruder = await ask('weft-intruder', `http://${vip}/public/a`);
      assert.equal(intruder.status, 403);
      const line = await request(stage, 'the refusal', ({ source }) => source === id('intruder'));
      assert.equal(line['code'], 'WEFT_DENIED');
      assert.match(String(line['why']), /shop\/echo-public/);
      return {
        allowed: allowed.status,
        refused,
        intruder: intruder.status,
        policy: line['policy'],
        source: line['source'],
        destination: line['destination'],
        why: line['why'],
      };
    },
    tell: (e) =>
      `intruder: ${String(e['intruder'])}, "${String(e['why'])}"; ${Object.keys(e['refused'] as object).length} tricks with paths refused`,
  },
  {
    name: 'waypoint-no-bypass',
    title: 'Every way around the waypoint: by address, another Service, an own tunnel, from outside, by IPv6',
    run: async (stage) => {
      const ways: Record<string, string> = {};
      const refuse = (way: string, answer: Answer): void => {
        ways[way] = refusedStatus(answer);
        assert.ok(answer.status === 0 || answer.status === 403, `${way}: ${answer.status} ${answer.body}`);
      };
      // By a pod's address, on the same node and on the other, v4 and v6: the waypoint's policy all the same.
      for (const pod of pods) {
        refuse(`intruder to ${pod}`, await ask('weft-intruder', `http://${pod}:8080/public/a`));
        refuse(`web's POST to ${pod}`, await ask('weft-web', `http://${pod}:8080/public/a`, '-d', 'x'));
      }
      const byAddress = await ask('weft-web', `http://${pods[0]}:8080/public/a`);
      assert.equal(byAddress.status, 200, 'what policy allows is allowed by address too');
      // By another Service, that names no waypoint, and a headless one.
      stage.write(
        'side.yaml',
        `kind: Service
metadata: { name: echo-side, namespace: shop }
spec: { selector: { app: echo }, clusterIPs: [10.96.0.29], ports: [{ port: 80, targetPort: 8080 }] }
---
kind: Service
metadata: { name: echo-headless, namespace: shop }
spec: { selector: { app: echo }, clusterIP: None, ports: [{ port: 8080 }] }
`,
      );
      await until('the other Service is known', 10_000, async () => {
        const answer = await ask('weft-web', 'http://10.96.0.29/public/a');
        return answer.status === 200;
      });
      refuse('by another Service', await ask('weft-intruder', 'http://10.96.0.29/public/a'));
      refuse('by another Service, POST', await ask('weft-web', 'http://10.96.0.29/public/a', '-d', 'x'));
      // From what is in no mesh: the nodes themselves.
      for (const node of ['weft-node-a', 'weft-node-b'])
        for (const pod of pods) refuse(`${node} to ${pod}`, await ask(node, `http://${pod}:8080/public/a`));
      // With a certificate of the mesh, in a tunnel of one's own.
      const svid = certificateOf(stage, 'web');
      const own = async (
        way: string,
        netns: string,
        ...rest: [string, string, string, ...string[]]
      ): Promise<void> => {
        const answer = await tunnel(netns, svid, ...rest);
        assert.equal(answer.opened, false, `${way}: ${answer.answer}`);
        ways[way] = answer.why ?? '';
      };
      const echo = id('echo');
      for (const pod of pods.map((text) => text.replace(/[[\]]/g, ''))) {
        const authority = pod.includes(':') ? `[${pod}]:8080` : `${pod}:8080`;
        await own(`an own tunnel to ${pod}`, 'weft-node-a', echo, pod, authority);
        // Saying that it speaks for somebody makes nobody a waypoint.
        await own(`the same, with a claim, ${pod}`, 'weft-node-a', echo, pod, authority, id('waypoint'));
      }
      await own(
        'an own tunnel from a pod of the mesh',
        'weft-intruder',
        echo,
        '10.244.2.60',
        '10.244.2.60:8080',
      );
      // The waypoint carries what it serves, and nothing else.
      const waypointIp = '10.244.2.200';
      await own(
        'the waypoint as a way to others',
        'weft-node-a',
        id('waypoint'),
        waypointIp,
        '10.244.2.10:6379',
      );
      stage.remove('side.yaml');
      return { ways: Object.keys(ways).length, ...ways };
    },
    tell: (e) => `${String(e['ways'])} ways tried, each refused`,
  },
  {
    name: 'waypoint-fail-closed',
    title: 'kill -9 of the waypoint: its Service is closed, with a reason, and opens when it is back',
    run: async (stage) => {
      stage.remove('access.yaml');
      await until(
        'the policy is gone',
        10_000,
        async () => (await ask('weft-web', `http://${vip}/`)).status === 200,
      );
      const from = stage.records('node-a').length;
      await stopWaypoint(stage.testbed, place, 'SIGKILL');
      const dead: Record<string, string> = {};
      for (const url of [`http://${vip}/`, ...pods.map((pod) => `http://${pod}:8080/`)]) {
        const answer = await ask('weft-web', url);
        assert.equal(answer.status, 0, `${url}: ${answer.body}`);
        dead[url] = refusedStatus(answer);
      }
      const record = await stage.record('node-a', 'why', from, ({ path }) => path === 'refused');
      const others = await stage.ping('weft-web', '10.96.0.12', 6379);
      assert.equal(others, '+PONG', 'what stands behind no waypoint goes on');
      await startWaypoint(stage.testbed, place);
      await until(
        'echo answers again',
        10_000,
        async () => (await ask('weft-web', `http://${vip}/`)).status === 200,
      );
      return { dead, code: record.code, why: record.why, others };
    },
    tell: (e) => `refused by every address: ${String(e['code'])}, "${String(e['why'])}"`,
  },
  {
    name: 'waypoint-rolling-update',
    title: 'Another replica takes over under load: no request fails',
    run: async (stage) => {
      const running = load(`http://${vip}/`);
      await sleep(1_000);
      await startWaypoint(stage.testbed, second);
      // What every client's node knows of is what may be relied on: a rolling update waits likewise before it goes on.
      await until('the new one serves', 30_000, async () => {
        await ask('weft-web', `http://${vip}/`);
        return requests(stage, second).length > 0;
      });
      await stopWaypoint(stage.testbed, place);
      await sleep(1_000);
      const { answered, failures, by } = await running.stop();
      assert.deepEqual(failures, {});
      assert.ok(answered > 100, `${answered} answered`);
      const served = requests(stage, second).length;
      assert.ok(served > 0, 'the new one has served');
      assert.equal(stage.testbed.mark(waypointProcess(place)), undefined);
      for (const file of ['gateway', 'split', 'retry', 'grpc']) stage.remove(`${file}.yaml`);
      await stopWaypoint(stage.testbed, second);
      return { answered, failures, by, servedByTheNewOne: served };
    },
    tell: (e) =>
      `${String(e['answered'])} answered, none failed; ${String(e['servedByTheNewOne'])} by the new one`,
  },
];
