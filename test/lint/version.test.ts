import assert from 'node:assert/strict';
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
