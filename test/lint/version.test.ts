import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { version } from '../../src/base/version.js';

test('programs, package and chart have the same version', () => {
  const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');
  const chart = parse(read('daemonset/chart/Chart.yaml')) as { version: string; appVersion: string };
  const { version: ofPackage } = JSON.parse(read('package.json')) as { version: string };
  assert.deepEqual([ofPackage, chart.version, String(chart.appVersion)], [version, version, version]);
});

test("the chart names the carrier's version: after a change of its sources, run native/carrier/version --write", () => {
  const values = parse(readFileSync(join(projectRoot, 'daemonset/chart/values.yaml'), 'utf8')) as {
    carrier: { version: string };
  };
  const current = execFileSync(join(projectRoot, 'native/carrier/version'), { encoding: 'utf8' }).trim();
  assert.equal(values.carrier.version, current);
});
