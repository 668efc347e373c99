/** The demo's step `dashboard`, where it must open the page in Chromium. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../../src/base/wait.js';
import { browserPath, consoleLines } from '../../src/cli/demo/browser.js';
import { Stage, apiVip, enrolled, namespace, pong } from '../../src/cli/demo/stage.js';
import { dashboardStep } from '../../src/cli/demo/steps/dashboard.js';
import { distRoot } from '../../src/cli/run.js';
import { Testbed, tearDown } from '../../src/cli/standalone/testbed.js';

const state = '/run/weft/test-dashboard-demo';
const manifests = mkdtempSync(join(tmpdir(), 'weft-demo-manifests-'));
let stage: Stage;

before(async () => {
  await tearDown(state);
  mkdirSync(state, { recursive: true, mode: 0o700 });
  cpSync(join(distRoot, 'src', 'cli', 'demo', 'manifests'), manifests, { recursive: true });
  stage = new Stage(Testbed.create({ from: manifests, state }), manifests, state);
  stage.startApplications();
  await stage.testbed.up();
  stage.write('namespace.yaml', namespace('weft.dev/mesh: enabled'));
  await stage.testbed.waitReady(enrolled);
  await until('redis answers', 30_000, async () => (await stage.ping('weft-web', apiVip, 6379)) === pong);
});
after(async () => {
  stage?.end();
  await tearDown(state);
  rmSync(manifests, { recursive: true, force: true });
});

test('Chromium shows the edges that the demo made, and its console is empty', async () => {
  assert.ok(browserPath(), 'there is Chromium: bash native/prepare.sh observe');
  const evidence = await dashboardStep.run(stage);
  assert.notEqual(evidence['browser'], 'none');
  assert.ok(Number(evidence['shown']) > 0);
  assert.match(dashboardStep.summary(evidence), /Chromium shows \d+ edges, and its console is empty/);
});

test('a machine without Chromium is told that the page was not opened', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = '';
  try {
    assert.equal(browserPath(), undefined);
  } finally {
    process.env['PATH'] = path;
  }
  assert.match(
    dashboardStep.summary({ edges: 1, programs: 2, browser: 'none' }),
    /was not opened in a browser/,
  );
});

test("messages of a page are found among the browser's own", () => {
  const log = `[1:2:1128/1.2:ERROR:dbus/bus.cc:408] Failed to connect
[3:4:1128/035200.1:INFO:CONSOLE:1] "Refused to load", source: http://127.0.0.1:1/page.js (1)
[3:4:1128/035200.1:INFO:CONSOLE(12)] "older", source: x (12)
[3:4:1128/035200.1:INFO:CONSOLE:574] "Slow network is detected", source: chrome://omnibox-popup.top-chrome/ (0)`;
  assert.deepEqual(consoleLines(log), [
    '"Refused to load", source: http://127.0.0.1:1/page.js (1)',
    '"older", source: x (12)',
  ]);
});
