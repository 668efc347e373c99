/** Failures of a first installation, each with its reason, and the installation that corrects them. The cluster is as in kubernetes.test.ts. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { projectRoot } from '../../native/index.js';
import { env, given, here, kubectl, run, takeCluster, weftImage } from '../support/cluster.js';

interface Ended {
  readonly code: number;
  readonly said: string;
  readonly seconds: number;
}
/** Runs `weft`. Resolves with the exit code and the text of both outputs. */
function weft(...args: string[]): Promise<Ended> {
  const began = performance.now();
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(projectRoot, 'dist/src/cli/weft.js'), ...args],
      { env, encoding: 'utf8', maxBuffer: 16 << 20 },
      (error, stdout, stderr) =>
        resolve({
          code: error ? (typeof error.code === 'number' ? error.code : 1) : 0,
          said: `${stdout}${stderr}`,
          seconds: (performance.now() - began) / 1000,
        }),
    );
  });
}
/** No registry listens at this address, so the pull is refused at once. */
const missing = '127.0.0.1:1/weft:missing';

before(async () => {
  await takeCluster(1);
});
after(async () => {
  await weft('uninstall', '--crds');
  await kubectl('delete', 'namespace', 'weft-system', '--ignore-not-found').catch(() => '');
  if (given === undefined) await run(join(here, 'down'));
});

test('an image that cannot be pulled ends the installation with its name and the reason, long before the limit', async () => {
  const { code, said, seconds } = await weft('install', '--image', missing, '--timeout', '10m');
  assert.equal(code, 1, said);
  assert.match(said, /^image {10}127\.0\.0\.1:1\/weft:missing$/m);
  assert.match(said, /^namespace {6}weft-system created$/m);
  assert.match(said, /^control plane {2}0 of 2 ready$/m);
  assert.match(said, /^weft: WEFT_IMAGE_PULL: .*image 127\.0\.0\.1:1\/weft:missing cannot be pulled/m);
  assert.match(said, /What to do: .*weft install --image/);
  assert.ok(seconds < 240, `${seconds} s`);
  const label = await kubectl(
    ...['get', 'namespace', 'weft-system', '-o'],
    'jsonpath={.metadata.labels.pod-security\\.kubernetes\\.io/enforce}',
  );
  assert.equal(label, 'privileged');
});

test('weft status and weft check name the image that cannot be pulled', async () => {
  const status = await weft('status', '--kubernetes');
  assert.equal(status.code, 1);
  assert.match(status.said, /^control plane {2}0 of 2 ready, 127\.0\.0\.1:1\/weft:missing$/m);
  // The agent waits for the control plane's ConfigMap before its image is pulled.
  assert.match(status.said, /^node1 +no answer: /m);
  assert.match(
    status.said,
    /^DOES NOT RUN\n(?:pod .*\n)*pod weft-control-\S+ on node1: image 127\.0\.0\.1:1\/weft:missing cannot be pulled: (ErrImagePull|ImagePullBackOff): /m,
  );
  const check = await weft('check', '--kubernetes');
  assert.equal(check.code, 1);
  assert.match(check.said, /^FAIL {2}pod weft-control-\S+ on node1: image .* cannot be pulled/m);
  assert.match(check.said, /npm run image/);
});

test('weft uninstall removes a failed installation none of whose pods ever ran', async () => {
  const { code, said, seconds } = await weft('uninstall');
  assert.equal(code, 0, said);
  assert.match(said, /no agent has run/);
  assert.ok(seconds < 100, `${seconds} s`);
});

test('a namespace whose pod security refuses the agent is found before the installation, and named in the error if the check is skipped', async () => {
  const level = (text: string): Promise<string> =>
    kubectl('label', 'namespace', 'weft-system', '--overwrite', `pod-security.kubernetes.io/enforce=${text}`);
  await level('baseline');
  const checked = await weft('install', '--image', `${weftImage}:0.1.0`);
  assert.equal(checked.code, 1);
  assert.match(checked.said, /FAIL {2}namespace weft-system enforces pod security "baseline"/);
  assert.match(checked.said, /kubectl label namespace weft-system .*=privileged/);
  const skipped = await weft('install', '--image', `${weftImage}:0.1.0`, '--skip-check', '--timeout', '5m');
  assert.equal(skipped.code, 1);
  assert.match(skipped.said, /^weft: WEFT_POD_REFUSED: DaemonSet weft-agent: .*violates PodSecurity/m);
  await level('privileged');
});

test('a corrected installation reports each component as it becomes ready, and weft status lists the namespaces of the mesh', async () => {
  const { code, said } = await weft(
    'install',
    '--image',
    `${weftImage}:0.1.0`,
    '--set',
    'control.replicas=1',
  );
  assert.equal(code, 0, said);
  assert.match(said, /^control plane {2}1 of 1 ready$/m);
  assert.match(said, /^agents {9}1 of 1 ready$/m);
  await kubectl('create', 'namespace', 'shop');
  await kubectl('label', 'namespace', 'shop', 'weft.dev/mesh=enabled', 'weft.dev/mode=strict');
  const status = await weft('status', '--kubernetes');
  assert.equal(status.code, 0, status.said);
  assert.match(status.said, /^NAMESPACE +MESH +MODE +WAYPOINT +PODS\nshop +enabled +strict +none +0 of 0$/m);
  // Values that are not given again are kept.
  const again = await weft('install');
  assert.equal(again.code, 0, again.said);
  assert.match(again.said, /unchanged \(--image sets another\)/);
  assert.match(again.said, /^control plane {2}1 of 1 ready$/m);
});

test('weft status shows nodes and namespaces also without the control plane', async () => {
  await kubectl('-n', 'weft-system', 'scale', 'deploy/weft-control', '--replicas=0');
  await kubectl(
    '-n',
    'weft-system',
    'wait',
    'pod',
    '-l',
    'app=weft-control',
    '--for=delete',
    '--timeout=60s',
  );
  const { code, said } = await weft('status', '--kubernetes');
  assert.equal(code, 1);
  assert.match(said, /^node1 +ready /m);
  assert.match(said, /^shop +enabled +strict/m);
  await kubectl('-n', 'weft-system', 'scale', 'deploy/weft-control', '--replicas=1');
  await kubectl('-n', 'weft-system', 'rollout', 'status', 'deploy/weft-control', '--timeout=60s');
});
