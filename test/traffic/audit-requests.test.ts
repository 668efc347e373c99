/**
 * Audit mode of a namespace for what its waypoint decides about requests: tokens, a decision service, rates, and the pods' own refusals of
 * requests whose tokens nobody has validated.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { until } from '../../src/base/wait.js';
import { load } from '../../src/cli/demo/stage.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { accessLogOf, startWaypoint, type WaypointReplica } from '../../src/cli/standalone/waypoint.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { claimsOf, issuerName, jwksOf, newKey, signed } from '../support/jwt-issuer.js';

const mesh = new DemoMesh('audit-requests');
const place: WaypointReplica = { namespace: 'shop', name: 'waypoint', node: 'node-b', workers: 1 };
let testbed: Testbed;

const key = newKey('ES256', 'first');
const token = signed(key);
const foreign = signed(key, claimsOf({ aud: 'bank' }));
const policies = `apiVersion: v1
kind: Service
metadata: { name: opa, namespace: shop }
spec: { selector: { app: echo, version: v2 }, clusterIPs: [10.96.0.70], ports: [{ name: grpc, port: 9191 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  jwt:
    issuers:
      - issuer: ${issuerName}
        audiences: [shop]
        jwks: { inline: '${jwksOf(key)}' }
        claimHeaders: [{ header: x-claimed, claim: [sub] }]
---
apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: guard, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: echo }]
  externalAuthorization:
    - name: orders
      matches: [{ path: { type: PathPrefix, value: /orders } }]
      service: { name: opa, port: 9191 }
      timeout: 10s
  rateLimits:
    - { name: one, matches: [{ path: { type: PathPrefix, value: /limited } }], requests: 1, per: 1h }
    - { name: many, matches: [{ path: { type: PathPrefix, value: /orders } }], requests: 1000000, per: 1s }
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: api-users, namespace: shop }
spec:
  selector: { matchLabels: { app: api } }
  jwtRules: [{ issuer: '${issuerName}', jwks: '${jwksOf(key)}' }]
`;

interface Answer {
  readonly status: string;
  readonly body: string;
}
async function ask(url: string, ...headers: string[]): Promise<Answer> {
  const args = [
    '-sS',
    '-m',
    '20',
    '--noproxy',
    '*',
    '-w',
    '\n%{http_code}',
    ...headers.flatMap((one) => ['-H', one]),
  ];
  const { stdout } = await run('weft-web', 'curl', [...args, url], 30_000);
  const at = stdout.lastIndexOf('\n');
  return { status: stdout.slice(at + 1), body: stdout.slice(0, at) };
}
const vip = 'http://10.96.0.20';
const bearer = (text: string): string => `authorization: Bearer ${text}`;
const users = 'AuthenticationPolicy shop/users';

/** What the policies of shop forbid: the request, how it is refused, and the policy. */
const forbidden: readonly (readonly [
  what: string,
  send: () => Promise<Answer>,
  refused: string,
  policy: string,
  code: string,
])[] = [
  ['without a token', () => ask(`${vip}/none`), '401', users, 'WEFT_JWT_MISSING'],
  ['a token for others', () => ask(`${vip}/foreign`, bearer(foreign)), '401', users, 'WEFT_JWT_INVALID'],
  [
    'denied by the service',
    () => ask(`${vip}/orders/1`, bearer(token), 'x-user: eve'),
    '403',
    'TrafficPolicy shop/guard orders',
    'WEFT_EXTERNAL_AUTHORIZATION_DENIED',
  ],
  [
    'beyond the rate',
    () => ask(`${vip}/limited`, bearer(token)),
    '429',
    'TrafficPolicy shop/guard one',
    'WEFT_RATE_LIMITED',
  ],
];
/** By the address of a pod, and to pods of which no waypoint reads requests. */
const aside: readonly (readonly [what: string, send: () => Promise<Answer>, refused: string])[] = [
  ['to a pod behind the waypoint', () => ask('http://10.244.2.60:8080/'), '403'],
  ['to a pod without a waypoint', () => ask('http://10.96.0.10/'), '000'],
];
const become = (isRefused: boolean): Promise<unknown> =>
  until(`everything that is forbidden is ${isRefused ? 'refused' : 'allowed'}`, 60_000, async () => {
    for (const [, send, refused] of [...forbidden, ...aside])
      if ((await send()).status !== (isRefused ? refused : '200')) return false;
    return true;
  });

interface Line {
  readonly path: string;
  readonly code?: string;
  readonly policy?: string;
  readonly source: string;
  readonly why?: string;
  readonly audited?: readonly string[];
}
const logLines = (): Line[] =>
  readFileSync(accessLogOf(testbed, place), 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);

interface SeenCall {
  readonly pathTemplate: string;
  readonly audited: number;
  readonly refused: number;
  readonly policies: readonly string[];
}
const observed = (): Promise<readonly SeenCall[]> =>
  new Promise((resolve, reject) => {
    const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
    const args = ['policy', 'observe', '-n', 'shop', '--since', '1h', '--json', '--state', mesh.state];
    execFile(
      process.execPath,
      [weft, ...args],
      { encoding: 'utf8', maxBuffer: 16 << 20 },
      (error, stdout) => {
        if (error) reject(error);
        else resolve((JSON.parse(stdout) as { calls: readonly SeenCall[] }).calls);
      },
    );
  });

const enrolled = 'weft.dev/mesh: enabled';
const audit = `${enrolled}, weft.dev/policy-mode: audit`;

before(async () => {
  await mesh.prepare();
  mesh.gateway();
  testbed = mesh.create();
  const program = (name: string): string => join(projectRoot, 'dist', 'src', 'cli', 'demo', `${name}.js`);
  const servers = [
    ['weft-echo-v1', 8080],
    ['weft-echo-v2', 8080],
    ['weft-api', 8080],
  ] as const;
  for (const [netns, port] of servers)
    testbed.start(`${netns}-${port}`, netns, process.execPath, [program('echo'), netns, String(port)]);
  testbed.start('decider', 'weft-echo-v2', process.execPath, [program('decide'), '9191']);
  await testbed.up();
  await startWaypoint(testbed, place);
  for (const [netns, port] of servers) await listening(netns, port);
  await listening('weft-echo-v2', 9191);
  await become(false);
});
after(() => mesh.remove());

test('in audit mode tokens, decisions and rates refuse nothing, on any way to the pods, and each is recorded by its policy', async () => {
  mesh.namespace(audit);
  mesh.write('policies.yaml', policies);
  await until('each policy is evaluated', 60_000, async () => {
    for (const [what, send] of [...forbidden, ...aside]) assert.equal((await send()).status, '200', what);
    return forbidden.every(([, , , policy]) => logLines().some(({ audited }) => audited?.includes(policy)));
  });
  const allowed = await ask(`${vip}/orders/1`, bearer(token), 'x-user: ann');
  assert.equal(allowed.status, '200');
  await until('edges have it', 60_000, async () => {
    const calls = await observed();
    return forbidden.every(([, , , policy]) =>
      calls.some((call) => call.audited > 0 && call.policies.includes(policy)),
    );
  });
});

test('in audit mode, too, only a valid token sets the headers of claims, on any way through a waypoint', async () => {
  const claimed = async (headers: string[], url = `${vip}/claims`): Promise<string | undefined> => {
    const { status, body } = await ask(url, 'x-claimed: root', ...headers);
    assert.equal(status, '200');
    return (JSON.parse(body) as { headers: Record<string, string> }).headers['x-claimed'];
  };
  assert.equal(await claimed([]), undefined);
  assert.equal(await claimed([bearer(foreign)]), undefined);
  assert.equal(await claimed([bearer(token)]), claimsOf().sub);
  for (const way of ['http://10.244.2.60:8080/', 'http://10.96.0.21/'])
    assert.equal(await claimed([], way), undefined, way);
});

test('enforced, the same is refused; the log names policy, identity and claim, and the client sees no detail', async () => {
  mesh.namespace(enrolled);
  await become(true);
  const allowed = await ask(`${vip}/orders/1`, bearer(token), 'x-user: ann');
  assert.equal(allowed.status, '200');
  for (const [what, send, , policy, code] of forbidden) {
    const { body } = await send();
    assert.doesNotMatch(body, /shop\/|guard|users|aud|issuer/, what);
    const line = await until(`${what} is in the log`, 30_000, () =>
      logLines().findLast((one) => one.code === code),
    );
    assert.equal(line.policy, policy, what);
    assert.equal(line.source, 'spiffe://cluster.local/ns/shop/sa/web');
    assert.equal(line.audited, undefined);
  }
  const { why = '' } = logLines().findLast(({ code }) => code === 'WEFT_JWT_INVALID') ?? {};
  assert.match(why, /claim aud/);
  assert.doesNotMatch(why, /bank/, 'what the claim says is not logged');
  await until('edges have it', 60_000, async () => {
    const calls = await observed();
    return forbidden.every(([, , , policy]) =>
      calls.some((call) => call.refused > 0 && call.policies.includes(policy)),
    );
  });
});

test('audit mode switched under load fails no request that tokens, decisions and rates allow', async () => {
  const headers = { authorization: `Bearer ${token}`, 'x-user': 'ann' };
  const [plain, decided] = [load(`${vip}/`, 2, headers), load(`${vip}/orders/1`, 2, headers)];
  const more = async (): Promise<void> => {
    const before = [plain.answered(), decided.answered()];
    await until('both are answered meanwhile', 60_000, () =>
      [plain, decided].every((one, i) => one.answered() >= (before[i] ?? 0) + 20),
    );
  };
  for (let turn = 0; turn < 3; turn++) {
    mesh.namespace(audit);
    await become(false);
    await more();
    mesh.namespace(enrolled);
    await become(true);
    await more();
  }
  for (const one of [plain, decided]) {
    const { answered, failures } = await one.stop();
    assert.ok(answered > 100, `${answered} responses`);
    assert.deepEqual(failures, {});
  }
});
