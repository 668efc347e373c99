/** The commands of docs/adopt.md, in their order, on manifests and observed edges instead of a cluster. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { projectRoot } from '../../native/index.js';

const weft = join(projectRoot, 'dist', 'src', 'cli', 'weft.js');
const page = readFileSync(join(projectRoot, 'docs', 'adopt.md'), 'utf8');
const dir = mkdtempSync(join(tmpdir(), 'weft-adopt-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const fence = /^```(\S*)[^\n]*\n([\s\S]*?)^```$/gm;
const blocks = [...page.matchAll(fence)].map(([, language = '', body = '']) => ({ language, body }));
const commands = blocks
  .filter(({ language }) => language === 'sh')
  .flatMap(({ body }) => body.split('\n'))
  .map((line) => line.replace(/\s+# .*$/, '').trim())
  .filter((line) => line !== '');

const mesh = `apiVersion: apps/v1
kind: Deployment
metadata: { name: orders, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  template:
    metadata: { labels: { app: orders } }
    spec: { serviceAccountName: orders, containers: [{ name: orders, image: orders, ports: [{ containerPort: 8080 }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: orders, namespace: shop, labels: { weft.dev/waypoint: waypoint } }
spec: { selector: { app: orders }, ports: [{ port: 80, targetPort: 8080 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: waypoint, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;
const labels = new Map([['weft.dev/mesh', 'enabled']]);
const shop = join(dir, 'shop');
function writeNamespace(): void {
  const text = [...labels].map(([key, value]) => `${key}: ${value}`).join(', ');
  writeFileSync(
    join(shop, 'namespace.yaml'),
    `apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { ${text} } }\n`,
  );
}

const edge = JSON.stringify({
  reporter: 'waypoint',
  source: {
    namespace: 'shop',
    workload: 'web',
    pod: 'web-1',
    identity: 'spiffe://cluster.local/ns/shop/sa/web',
  },
  destination: { namespace: 'shop', workload: 'orders', pod: 'orders-1' },
  service: 'orders.shop.svc.cluster.local',
  port: 8080,
  path: 'waypoint',
  method: 'GET',
  pathTemplate: '/orders/*',
  policy: '',
  counts: { connections: 0, refused: 0, audited: 0, requests: 17, lastSeenMs: Date.now() },
});

/** Runs a command of `weft policy` with the flags that say where the state and the edges are. */
function run(line: string): { status: number | null; stdout: string; stderr: string } {
  const [command = '', target] = line.split(' > ');
  const args = command.replace(/^npx weft /, '').split(/\s+/);
  const isTest = args[1] === 'test';
  if (!isTest && !args.includes('--edges')) args.push('--edges', 'edges.jsonl');
  if (['suggest', 'diff'].includes(args[1] ?? '')) args.push('--current', 'shop');
  const { status, stdout, stderr } = spawnSync(process.execPath, [weft, ...args], {
    cwd: dir,
    encoding: 'utf8',
    env: { ...process.env, KUBECONFIG: '' },
  });
  if (target !== undefined) writeFileSync(join(dir, target), stdout);
  return { status, stdout, stderr };
}

test('the commands of docs/adopt.md lead from observing to strict: nothing that was seen is refused, what was not seen is', () => {
  mkdirSync(shop);
  writeFileSync(join(shop, 'mesh.yaml'), mesh);
  writeFileSync(join(dir, 'edges.jsonl'), `${edge}\n`);
  writeNamespace();
  for (const { body } of blocks) {
    const [, file] = /^# file: (\S+)\n/.exec(body) ?? [];
    if (file !== undefined) writeFileSync(join(dir, file), body);
  }
  const ran: string[] = [];
  for (const line of commands) {
    const label = /^kubectl label (?:--overwrite )?namespace shop (\S+)=(\S+)$/.exec(line);
    const apply = /^kubectl apply -f (\S+)$/.exec(line);
    if (label) {
      labels.set(label[1] ?? '', label[2] ?? '');
      writeNamespace();
    } else if (apply) copyFileSync(join(dir, apply[1] ?? ''), join(shop, apply[1] ?? ''));
    else if (line.startsWith('npx weft policy ')) {
      const { status, stdout, stderr } = run(line);
      assert.equal(status, 0, `${line}: ${stdout} ${stderr}`);
      ran.push(line.split(' ')[3] ?? '');
    } else assert.match(line, /^npx weft edges /, 'every other command of the page is known here');
  }
  for (const one of ['observe', 'suggest', 'diff', 'test']) assert.ok(ran.includes(one), one);
  const suggested = readFileSync(join(shop, 'suggested.yaml'), 'utf8');
  assert.match(suggested, /serviceAccounts: \[shop\/web\]/);
  assert.match(suggested, /paths: \["\/orders\/\{\*\}"\]/);
  assert.match(suggested, /17 requests, last seen /);
});

test('a comparison says which sections of TrafficPolicies are not compared, with an exit code of its own', () => {
  writeFileSync(
    join(dir, 'guard.yaml'),
    `apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: guard, namespace: shop }
spec:
  targetRefs: [{ group: '', kind: Service, name: orders }]
  externalAuthorization: [{ name: all, service: { name: opa, port: 9191 } }]
`,
  );
  const diff = (...files: string[]) => run(`npx weft policy diff ${files.join(' ')} -n shop`);
  const { stderr, status } = diff('guard.yaml');
  assert.match(stderr, /^not compared: TrafficPolicy shop\/guard: what externalAuthorization would refuse /m);
  assert.equal(status, 3);
  const json = JSON.parse(run('npx weft policy diff guard.yaml -n shop --json').stdout) as object;
  assert.equal((json as { notCompared: string[] }).notCompared.length, 1);
  const guard = readFileSync(join(dir, 'guard.yaml'), 'utf8');
  const write = (file: string, text: string): void => writeFileSync(join(dir, file), text);
  write('tried.yaml', guard.replace('spec:', 'spec:\n  dryRun: true'));
  assert.equal(diff('tried.yaml').status, 0, 'a dry run refuses nothing');
  write(
    'audit.yaml',
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { weft.dev/mesh: enabled, weft.dev/policy-mode: audit } }\n',
  );
  assert.equal(diff('guard.yaml', 'audit.yaml').status, 0, 'nor does audit mode');
  write(
    'nobody.yaml',
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: nobody, namespace: shop }\nspec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }\n',
  );
  assert.equal(diff('guard.yaml', 'nobody.yaml').status, 1, 'what would be refused goes before');
  copyFileSync(join(dir, 'guard.yaml'), join(shop, 'guard.yaml'));
  copyFileSync(join(dir, 'audit.yaml'), join(shop, 'zz-audit.yaml'));
  assert.equal(diff('guard.yaml').status, 0, 'nothing changes');
  write('enforce.yaml', readFileSync(join(dir, 'audit.yaml'), 'utf8').replace('audit }', 'enforce }'));
  assert.equal(diff('enforce.yaml').status, 3, 'the end of audit mode puts it in force');
  rmSync(join(shop, 'guard.yaml'));
  rmSync(join(shop, 'zz-audit.yaml'));
});

test('a case that fails has exit code 1, and a file with an unknown field, or a manifest with an error, 2', () => {
  const text = readFileSync(join(dir, 'policies.test.yaml'), 'utf8');
  const status = (changed: string): number | null => {
    writeFileSync(join(dir, 'changed.yaml'), changed);
    return run('npx weft policy test changed.yaml').status;
  };
  assert.equal(status(text), 0);
  assert.equal(status(text.replace('expect: allow', 'expect: deny')), 1);
  assert.equal(status(text.replace('policy: shop/observed-orders', 'policy: shop/other')), 1);
  assert.equal(status(text.replace('shop/orders, port: 80', 'shop/missing, port: 80')), 1);
  assert.equal(status(text.replace('method: GET', 'metod: GET')), 2);
  assert.equal(status(text.replace('manifests: [shop]', 'manifests: [nowhere]')), 2);
  assert.equal(status(`${text}  - [}\n`), 2);
  writeFileSync(
    join(dir, 'wrong.yaml'),
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: x }\nspec: { action: MAYBE, rules: [] }\n',
  );
  assert.equal(status(text.replace('manifests: [shop]', 'manifests: [shop, wrong.yaml]')), 2);
  const json = run('npx weft policy test policies.test.yaml --json');
  assert.equal((JSON.parse(json.stdout) as { passed: boolean }).passed, true);
});

test('a change that would refuse what was seen has exit code 1 and names who and how often', () => {
  writeFileSync(
    join(dir, 'deny.yaml'),
    'apiVersion: weft.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: no-web, namespace: shop }\nspec: { action: DENY, rules: [{ from: [{ serviceAccounts: [shop/web] }] }] }\n',
  );
  const { status, stdout } = run('npx weft policy diff deny.yaml -n shop');
  assert.equal(status, 1, stdout);
  assert.match(
    stdout,
    /would be REFUSED +shop\/web +cluster\.local\/ns\/shop\/sa\/web +shop\/orders:8080 +GET \/orders\/\* +17 /,
  );
  assert.match(stdout, /shop\/no-web rule 0 denies it/);
});
