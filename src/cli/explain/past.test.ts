import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { printable } from '../printable.js';
import { distRoot } from '../run.js';
import { loggedRequestOf, logsOf, pastLines, pastText, questionOf } from './past.js';

const party = (pod: string, address: string) => ({
  address,
  identity: `spiffe://cluster.local/ns/shop/sa/${pod}`,
  namespace: 'shop',
  workload: pod,
  pod,
});
const connection = (more: object) => ({
  direction: 'outbound',
  path: 'hbone',
  why: 'other-node',
  source: party('web', '10.0.1.1:4000'),
  destination: party('api', '10.0.2.1:8080'),
  dialled: '10.96.0.10:80',
  bytesSent: 1,
  bytesReceived: 2,
  durationMs: 3,
  ended: 'finished',
  ...more,
});

test('the lines about one connection are found by its id and by the address of its client, in the logs of agents and waypoints', async (t) => {
  const state = mkdtempSync(join(tmpdir(), 'weft-past-'));
  t.after(() => rmSync(state, { recursive: true }));
  const write = (file: string, lines: readonly unknown[]): void =>
    writeFileSync(
      join(state, file),
      lines.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join('\n'),
    );
  for (const node of ['a', 'b']) mkdirSync(join(state, `agent-node-${node}`));
  mkdirSync(join(state, 'control'));
  write('agent-node-a/connections.log', [
    connection({ id: '7-1' }),
    connection({ id: '7-2', source: party('web', '10.0.1.1:4001') }),
    '{"id":"7-1", cut',
  ]);
  write('agent-node-b/connections.log', [
    connection({ direction: 'inbound', path: 'refused', code: 'WEFT_DENIED', policy: 'shop/no', rule: 0 }),
    'null',
    '[]',
    '"10.0.1.1:4000"',
  ]);
  write('waypoint-shop-wp-0.requests.log', [
    { source: 'spiffe://x', sourceAddress: '10.0.1.1:4000', method: 'GET', path: '/x', status: 403 },
    {
      id: 'a1-z',
      source: 'spiffe://x',
      sourceAddress: '10.0.1.1:40001',
      method: 'GET',
      path: '/y',
      status: 200,
    },
  ]);
  const files = logsOf(state);
  assert.equal(files.length, 3);
  const byId = await pastLines(files, '7-1', state);
  assert.deepEqual(
    byId.map(({ file }) => file),
    ['agent-node-a/connections.log'],
  );
  const byAddress = await pastLines(files, '10.0.1.1:4000', state);
  assert.deepEqual(
    byAddress.map(({ kind, file }) => `${kind} ${file}`),
    [
      'connection agent-node-a/connections.log',
      'connection agent-node-b/connections.log',
      'request waypoint-shop-wp-0.requests.log',
    ],
  );
  assert.deepEqual(questionOf(byAddress), { source: 'shop/web', destination: '10.96.0.10:80' });
  // What would happen now is asked about the logged request, not about GET /.
  const logged = loggedRequestOf(byAddress);
  assert.deepEqual([logged?.method, logged?.path, logged?.isStated], ['GET', '/x', true]);
  assert.equal(loggedRequestOf(byId), undefined);
  const text = [...pastText(byAddress)].join('\n');
  assert.match(text, /CONNECTED {2}outbound, by path hbone: other-node/);
  assert.match(
    text,
    /REFUSED {2}inbound, by path refused: other-node \(WEFT_DENIED, policy shop\/no rule 0\)/,
  );
  assert.match(text, /RESPONSE 403 {2}GET \/x/);
  const [byRequestId, ...more] = await pastLines(files, 'a1-z', state);
  assert.deepEqual([byRequestId?.kind, byRequestId?.line['path'], more], ['request', '/y', []]);
  assert.deepEqual(await pastLines(files, 'nothing', state), []);
});

test('lines of any content are read, and nothing that a terminal would act on is printed', () => {
  const odd = [undefined, null, 7, [], {}, 'x\u001b[2J', { pod: 'p\u001b[2J' }];
  for (const source of [...odd, party('web', 'x')])
    for (const path of odd) {
      const line = { source, destination: source, path, sourceAddress: 'a' } as Readonly<
        Record<string, unknown>
      >;
      for (const kind of ['connection', 'request'] as const) {
        const lines = [{ file: 'f', kind, line }];
        questionOf(lines);
        loggedRequestOf(lines);
        assert.doesNotMatch([...pastText(lines)].map(printable).join(''), /\u001b/);
      }
    }
});

test('what would happen to a request now is asked with the port that its client dialed, if the line has it', () => {
  const questionFor = (more: object): ReturnType<typeof questionOf> =>
    questionOf([
      {
        file: 'f',
        kind: 'request',
        line: { sourceAddress: '10.0.1.1:4000', service: 'api.shop.svc.cluster.local', ...more },
      },
    ]);
  assert.equal(questionFor({ servicePort: 8443 })?.destination, 'api.shop.svc.cluster.local:8443');
  // Lines of earlier versions, and lines that no waypoint has written.
  for (const servicePort of [undefined, '80', 0, -1, 1.5, 70_000, null])
    assert.equal(questionFor({ servicePort })?.destination, 'api.shop.svc.cluster.local');
  // A pod's address that was dialed has its port already.
  for (const service of ['10.0.2.1:8080', '[2001:db8::1]:8080'])
    assert.equal(questionFor({ service, servicePort: 8080 })?.destination, service);
});

const manifests = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop }
spec: { nodeName: a, serviceAccountName: web }
status: { phase: Running, podIPs: [{ ip: 10.0.1.1 }], conditions: [{ type: Ready, status: 'True' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: api, namespace: shop, labels: { app: api } }
spec: { nodeName: b, serviceAccountName: api }
status: { phase: Running, podIPs: [{ ip: 10.0.2.1 }], conditions: [{ type: Ready, status: 'True' }] }
---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop }
spec: { selector: { app: api }, clusterIP: 10.96.0.10, ports: [{ port: 80, targetPort: 8080 }] }
`;
const noWeb = `
apiVersion: weft.dev/v1alpha1
kind: AccessPolicy
metadata: { name: no-web, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }
`;

interface Ended {
  readonly code: number;
  readonly text: string;
}
const explainOf = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(distRoot, 'src', 'cli', 'weft.js'), 'explain', ...args],
      { encoding: 'utf8', timeout: 60_000 },
      (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? 1) : 0, text: stdout + stderr }),
    );
  });

test('with the lines of a connection, weft explain says what would happen to it now, and with other manifests', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-past-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const at = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const args = ['7-1', '--log', at('log', JSON.stringify(connection({ id: '7-1' }))), '-f'];
  args.push(at('mesh.yaml', manifests), '--what-if', at('no-web.yaml', noWeb));
  const weft = (...more: readonly string[]): Promise<Ended> => explainOf(...args, ...more);
  const json = await weft('--json');
  assert.equal(json.code, 3, json.text);
  const schema = new URL('../../../../docs/explain.schema.json', import.meta.url);
  const isOfSchema = new Ajv({ strict: false }).compile(JSON.parse(readFileSync(schema, 'utf8')) as object);
  assert.ok(isOfSchema(JSON.parse(json.text)), JSON.stringify(isOfSchema.errors));
  const { past, now, whatIf } = JSON.parse(json.text) as {
    readonly past: readonly unknown[];
    readonly now: { readonly outcome: string };
    readonly whatIf: { readonly outcome: string };
  };
  assert.deepEqual([past.length, now.outcome, whatIf.outcome], [1, 'allowed', 'refused']);
  const text = await weft();
  assert.equal(text.code, 3, text.text);
  assert.match(text.text, /now: +ALLOWED: .*\nwith them: REFUSED: policy shop\/no-web rule 0 denies it/);
});

test('weft explain ID of a request to one of several ports of a Service says what would happen now; without the port it is not known', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-past-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const at = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const mesh = at(
    'mesh.yaml',
    manifests.replace('ports: [{', 'ports: [{ name: admin, port: 81, targetPort: 8081 }, { name: http,'),
  );
  const request = (id: string, more: object): object => ({
    id,
    source: 'spiffe://cluster.local/ns/shop/sa/web',
    sourceAddress: '10.0.1.1:4000',
    service: 'api.shop.svc.cluster.local',
    method: 'GET',
    path: '/x',
    status: 200,
    ...more,
  });
  const lines = [request('a-1', { servicePort: 80 }), request('a-2', {})];
  const log = at('log', lines.map((one) => JSON.stringify(one)).join('\n'));
  const weft = (id: string): Promise<Ended> => explainOf(id, '--log', log, '-f', mesh);
  const known = await weft('a-1');
  assert.equal(known.code, 0, known.text);
  assert.match(known.text, /^now: ALLOWED/m);
  const unknown = await weft('a-2');
  assert.equal(unknown.code, 4, unknown.text);
  assert.match(unknown.text, /now: not known: .*shop\/api has several ports/);
});
