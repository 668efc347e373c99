/** Rules, dashboards and collectors in the chart, rendered by Helm. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { here, run } from '../support/cluster.js';

interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: { readonly groups?: readonly RuleGroup[] };
}
interface RuleGroup {
  readonly name: string;
  readonly rules: readonly { readonly expr: string }[];
}

const dir = mkdtempSync(join(tmpdir(), 'weft-chart-'));
const chart = join(projectRoot, 'daemonset', 'chart');
const files = join(chart, 'files');

async function render(...settings: readonly string[]): Promise<readonly Rendered[]> {
  const text = await run(
    'helm',
    ...['template', 'weft', chart, '-n', 'weft-system', '--kube-version', '1.33.0', '--no-hooks'],
    ...settings.flatMap((setting) => ['--set', setting]),
  );
  return parseAllDocuments(text).flatMap((one) => (one.toJS() as Rendered | null) ?? []);
}
const ruleOf = (objects: readonly Rendered[]): Rendered =>
  objects.find(({ kind }) => kind === 'PrometheusRule') ?? assert.fail('there is no PrometheusRule');

// Helm comes with the cluster of tests.
before(() => run(join(here, 'up'), '--control-plane-only'));
after(async () => {
  await run(join(here, 'down'));
  rmSync(dir, { recursive: true, force: true });
});

test('without values the chart has no rule, no dashboard and no collector', async () => {
  const objects = await render();
  assert.ok(objects.length > 10);
  assert.deepEqual(
    objects.filter(({ kind, metadata: { name } }) => kind === 'PrometheusRule' || /dashboard/.test(name)),
    [],
  );
  assert.doesNotMatch(JSON.stringify(objects), /otlp/);
});

test('the PrometheusRule has the rules of the file, with the objectives of the values, and promtool accepts them', async () => {
  const text = readFileSync(join(files, 'prometheus-rules.yaml'), 'utf8');
  const { groups } = parse(text) as { readonly groups: readonly RuleGroup[] };
  const byDefault = ruleOf(await render('monitoring.rules=true', 'monitoring.labels.release=prom'));
  assert.deepEqual(byDefault.spec?.groups, groups);
  assert.equal(byDefault.metadata.labels?.['release'], 'prom');
  const objectives = ['availability=0.99', 'latency=0.9', 'latencyMs=250'];
  const changed = ruleOf(
    await render('monitoring.rules=true', ...objectives.map((one) => `monitoring.objectives.${one}`)),
  );
  const [first, ...others] = changed.spec?.groups ?? [];
  assert.deepEqual(
    first?.rules.map(({ expr }) => expr),
    ['vector(0.99)', 'vector(0.9)'],
  );
  const expected = parse(text.replace('le=~"1000(', 'le=~"250(')) as {
    readonly groups: readonly RuleGroup[];
  };
  assert.deepEqual(others, expected.groups.slice(1));
  writeFileSync(join(dir, 'rules.yaml'), stringify({ groups: changed.spec?.groups }));
  await run('promtool', 'check', 'rules', join(dir, 'rules.yaml'));
});

test('each dashboard is in a ConfigMap with the label of the sidecar', async () => {
  const maps = (await render('monitoring.dashboards=true', 'monitoring.dashboardLabel=board')).filter(
    ({ kind, metadata: { labels } }) => kind === 'ConfigMap' && labels?.['board'] === '1',
  );
  const texts = Object.assign({}, ...maps.map(({ data }) => data)) as Record<string, string>;
  const names = readdirSync(join(files, 'dashboards'));
  assert.deepEqual(Object.keys(texts).sort(), names.sort());
  for (const name of names) assert.equal(texts[name], readFileSync(join(files, 'dashboards', name), 'utf8'));
});

test('collectors are flags of all programs, before those that the values add', async () => {
  const signals = ['metrics', 'logs', 'traces'].map((name) => `otlp.${name}=http://c:4318/v1/${name}`);
  const objects = await render(...signals, 'rateLimiter.enabled=true', 'waypoint.extraArgs={--x=1}');
  const of = (kind: string, name: string): string =>
    JSON.stringify(objects.find((one) => one.kind === kind && one.metadata.name === name));
  for (const name of ['weft-control', 'weft-rate-limiter'])
    assert.match(of('Deployment', name), /"--otlp-metrics-endpoint=http:\/\/c:4318\/v1\/metrics"/);
  assert.match(of('DaemonSet', 'weft-agent'), /"--otlp-logs-endpoint=http:\/\/c:4318\/v1\/logs"/);
  const waypoint = /--waypoint=(\{.*?\})",/.exec(of('Deployment', 'weft-control'))?.[1] ?? '';
  const { extraArgs } = JSON.parse(waypoint.replaceAll('\\"', '"')) as { readonly extraArgs: string[] };
  assert.deepEqual(extraArgs, [
    '--otlp-endpoint=http://c:4318/v1/traces',
    '--otlp-logs-endpoint=http://c:4318/v1/logs',
    '--otlp-metrics-endpoint=http://c:4318/v1/metrics',
    '--x=1',
  ]);
});
