/** The dashboards and rules of the chart: the JSON is that of the source, and each metric is documented. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { dashboards } from '../../daemonset/monitoring/dashboards.js';
import { grafanaText } from '../../daemonset/monitoring/grafana.js';
import { projectRoot } from '../../native/index.js';

const files = join(projectRoot, 'daemonset', 'chart', 'files');
const { groups } = parse(readFileSync(join(files, 'prometheus-rules.yaml'), 'utf8')) as {
  readonly groups: readonly {
    readonly rules: readonly { readonly record?: string; readonly expr: string }[];
  }[];
};

test('the JSON of the chart is that of the source, with unique panels', () => {
  const dir = join(files, 'dashboards');
  assert.deepEqual(readdirSync(dir).sort(), dashboards.map(({ name }) => `${name}.json`).sort());
  for (const dashboard of dashboards) {
    const text = readFileSync(join(dir, `${dashboard.name}.json`), 'utf8');
    assert.equal(text, grafanaText(dashboard), 'node dist/daemonset/monitoring/write.js DIRECTORY');
    const { panels } = JSON.parse(text) as { panels: readonly { id: number; title: string }[] };
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  }
});

test('each metric in rules and dashboards is in docs/metrics.md', () => {
  const page = readFileSync(join(projectRoot, 'docs', 'metrics.md'), 'utf8');
  const queries = [
    ...groups.flatMap(({ rules }) => rules.map(({ expr }) => expr)),
    ...dashboards.flatMap(({ rows, variables: those }) => [
      ...rows.flatMap(({ panels }) => panels.flatMap(({ queries: all }) => all.map(({ expr }) => expr))),
      ...those.map(({ query }) => query),
    ]),
  ].join('\n');
  const recorded = new Set(groups.flatMap(({ rules }) => rules.map(({ record }) => record)));
  for (const [name] of queries.matchAll(/\bweft:[\w:]+/g)) assert.ok(recorded.has(name), name);
  // The default metrics of a process are described together.
  const used = [...queries.matchAll(/(?<![:\w])(?:weft|istio|envoy)_\w+/g)].map(([name]) =>
    name.replace(/_(bucket|sum|count)$/, ''),
  );
  const missing = [...new Set(used)].filter(
    (name) => name !== 'envoy_cluster_name' && !/^weft_process_/.test(name) && !page.includes(`\`${name}\``),
  );
  assert.deepEqual(missing, []);
});
