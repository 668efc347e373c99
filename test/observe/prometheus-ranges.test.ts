/** Ranges beyond the control plane's memory: a real Prometheus scrapes a testbed, and `weft stat` and `weft edges` ask it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { run, type Finished } from '../../src/cli/run.js';
import type { Statistic, Subject } from '../../src/telemetry/observed/statistics.js';
import { apiUrl, echoUrl, ObservedMesh, weftProgram } from '../support/observed-mesh.js';

const observed = new ObservedMesh('prometheus-ranges');
const netns = 'weft-node-a';
const url = 'http://127.0.0.1:9090';

/** Runs `weft` where Prometheus is, without a control plane. */
const weft = (...args: string[]): Promise<Finished> =>
  run(netns, process.execPath, [weftProgram, ...args, '--state', '/nonexistent'], 60_000);

async function stat(by: Subject, ...args: string[]): Promise<readonly Statistic[]> {
  const { code, stdout, stderr } = await weft(
    'stat',
    by,
    '--since',
    '2h',
    '--prometheus',
    url,
    '--json',
    ...args,
  );
  assert.equal(code, 0, stderr);
  return (JSON.parse(stdout) as { readonly statistics: readonly Statistic[] }).statistics;
}

before(async () => {
  const testbed = await observed.up();
  const config = join(observed.mesh.state, 'prometheus.yml');
  // Both agents, and the waypoint on node-b.
  const targets = ['127.0.0.1:15020', '10.88.0.2:15020', '10.244.2.200:15020'];
  writeFileSync(
    config,
    `global: { scrape_interval: 1s }\nscrape_configs: [{ job_name: weft, authorization: { credentials_file: ${observed.tokenFile} }, static_configs: [{ targets: ${JSON.stringify(targets)} }] }]\n`,
  );
  testbed.start('prometheus', netns, '/usr/bin/prometheus', [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(observed.mesh.state, 'prometheus')}`,
    '--web.listen-address=127.0.0.1:9090',
    '--storage.tsdb.retention.time=3h',
  ]);
  await until('Prometheus scrapes all programs', 60_000, async () => {
    const { stdout } = await run(netns, 'curl', ['-sS', `${url}/api/v1/query?query=sum(up)`]);
    return stdout.includes(`"${targets.length}"`) || testbed.died('prometheus');
  });
});
after(() => observed.remove());

test('requests, failures, latencies and connections of a range are those of the mesh, each counted once', async () => {
  let made = 0;
  let failed = 0;
  let found: Statistic | undefined;
  let edge: Statistic | undefined;
  // Prometheus does not see the first value of a series as an increase: what is made once the series is known counts.
  await until('Prometheus has seen requests', 90_000, async () => {
    assert.equal(await observed.get('web', `${echoUrl}/orders/17`), '200');
    assert.equal(await observed.get('web', `${echoUrl}/status/503`), '503');
    assert.equal(await observed.get('web', apiUrl), '200');
    assert.equal(await observed.get('intruder', apiUrl), '000');
    made += 2;
    failed += 1;
    found = (await stat('services')).find(({ service }) => service === 'echo-v1.shop.svc.cluster.local');
    edge = (await stat('edges')).find((one) => one.destination === 'shop/api' && one.source === 'shop/web');
    const isMeasured = found?.latencyMs !== undefined && found.requestsPerSecond !== undefined;
    return isMeasured && (found?.failures ?? 0) >= 4 && (edge?.connections ?? 0) >= 4;
  });
  assert.ok(found && edge);
  // The request that asked whether the waypoint serves; and Prometheus extrapolates to the ends of a range.
  assert.ok(found.requests <= made + 2, `${found.requests} of ${made}`);
  assert.ok(found.failures <= failed + 1, `${found.failures} of ${failed}`);
  assert.ok(edge.connections <= failed + 1, `${edge.connections} of ${failed}`);
  assert.ok((found.successShare ?? 0) > 0 && (found.successShare ?? 1) < 1);
  assert.equal(found.mutualTlsShare, 1);
  const workloads = await stat('workloads', '-n', 'shop');
  const inbound = workloads.find((one) => one.workload === 'shop/echo' && one.direction === 'inbound');
  const outbound = workloads.find((one) => one.workload === 'shop/web' && one.direction === 'outbound');
  assert.ok(inbound && outbound);
  assert.equal(inbound.requests, outbound.requests);
  // Requests per second of the seconds in which Prometheus knew the mesh, and not of two hours.
  const { requestsPerSecond = 0, requests } = inbound;
  assert.ok(requestsPerSecond > requests / 3_600, String(requestsPerSecond));
  assert.deepEqual(await stat('workloads', '-n', 'bank'), []);
});

test('a policy has what it refused', async () => {
  const [only, ...more] = await stat('policies');
  assert.deepEqual([only?.policy, only?.audited, more], ['shop/only-web', 0, []]);
  assert.ok((only?.refused ?? 0) > 0);
});

test('weft edges shows the same edges, and says what metrics do not have', async () => {
  const { stdout } = await weft('edges', '--since', '2h', '--prometheus', url);
  assert.match(stdout, /^SOURCE .* SUCCESS +P50 +P99 +LAST SEEN$/m);
  assert.match(stdout, /^shop\/web +shop\/api +- +hbone +mutual TLS +[1-9]/m);
  assert.match(stdout, /^shop\/web +shop\/echo +- +waypoint +mutual TLS +0 +[1-9]/m);
  assert.match(
    stdout,
    /^spiffe:\/\/cluster\.local\/ns\/shop\/sa\/intruder +shop\/api +- +refused +- +0 +0 +[1-9]/m,
  );
  assert.match(stdout, /^Prometheus has metrics of the mesh since /m);
  assert.match(stdout, /^from Prometheus: without ports/m);
});

test('the environment names the Prometheus for ranges beyond 15 minutes', async () => {
  const of = (since: string): Promise<Finished> =>
    run(
      netns,
      'env',
      [
        `WEFT_PROMETHEUS_URL=${url}`,
        process.execPath,
        weftProgram,
        'stat',
        '--since',
        since,
        '--state',
        '/nonexistent',
      ],
      60_000,
    );
  assert.match((await of('1h')).stdout, /^shop\/web +outbound /m);
  assert.match((await of('15m')).stderr, /the control plane does not say who called whom/);
});

test('what metrics cannot say, and a Prometheus that is not there, are errors that say what to do', async () => {
  const routes = await weft('stat', 'routes', '--since', '2h', '--prometheus', url);
  assert.equal(routes.code, 2);
  assert.match(
    routes.stderr,
    /the metrics in Prometheus do not tell routes of an edge: look back 15m at most/,
  );
  const absent = await weft('stat', '--since', '2h', '--prometheus', 'http://127.0.0.1:9099');
  assert.match(absent.stderr, /Prometheus at http:\/\/127\.0\.0\.1:9099 does not respond: .*ECONNREFUSED/);
  const wrong = await weft('stat', '--since', '2h', '--prometheus', `${url}/graph`);
  assert.match(wrong.stderr, /the URL of Prometheus, with its prefix|responded \d+/);
});
