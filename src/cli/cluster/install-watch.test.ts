import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type https from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { close, createApiServer, listen } from '../../../test/support/api-server.js';
import type { WeftError } from '../../base/errors.js';
import { checkCluster } from './check.js';
import { watchInstall } from './install-watch.js';
import { settleMs } from './rollout.js';
import { clusterLines, clusterStatus } from './status.js';

/** Objects of the API server by path without query. A number is a status code without an object. */
let objects: Record<string, unknown> = {};
let server: https.Server;
let config: KubeConfig;
before(async () => {
  server = createApiServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'https://localhost');
    const found = objects[pathname] ?? 404;
    const status = typeof found === 'number' ? found : 200;
    const [, app] = /^app=(.*)$/.exec(searchParams.get('labelSelector') ?? '') ?? [];
    const selected =
      app === undefined
        ? found
        : {
            items: (found as { items: { metadata: { labels: { app: string } } }[] }).items.filter(
              ({ metadata }) => metadata.labels.app === app,
            ),
          };
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(typeof found === 'number' ? { message: `status ${found}` } : selected));
  });
  config = await listen(server);
});
after(() => close(server));

const system = '/api/v1/namespaces/weft-system';
const apps = '/apis/apps/v1/namespaces/weft-system';
const deployment = (available: number) => ({
  metadata: { name: 'weft-control', generation: 1 },
  spec: { replicas: 2, template: { spec: { containers: [{ image: 'r.example/weft:1' }] } } },
  status: {
    observedGeneration: 1,
    updatedReplicas: 2,
    readyReplicas: available,
    availableReplicas: available,
  },
});
const daemonSet = (available: number) => ({
  metadata: { name: 'weft-agent', generation: 1 },
  status: {
    observedGeneration: 1,
    desiredNumberScheduled: 2,
    updatedNumberScheduled: 2,
    numberAvailable: available,
  },
});
const podWaits = (name: string, reason: string, message: string) => ({
  metadata: { name, labels: { app: name.startsWith('weft-agent') ? 'weft-agent' : 'weft-control' } },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'r.example/weft:1' }] },
  status: { phase: 'Pending', containerStatuses: [{ name: 'c', state: { waiting: { reason, message } } }] },
});
const set = (
  control: number,
  agents: number,
  pods: readonly object[] = [],
  events: readonly object[] = [],
) => {
  objects = {
    [`${apps}/deployments/weft-control`]: deployment(control),
    [`${apps}/daemonsets/weft-agent`]: daemonSet(agents),
    [`${system}/pods`]: { items: pods },
    [`${system}/events`]: { items: events },
  };
};
beforeEach(() => set(0, 0));

interface Watched {
  readonly said: readonly string[];
  readonly code?: number;
  readonly error?: WeftError;
  readonly tookMs: number;
}
/** Simulates a clock that advances one second per reading. `step` changes the cluster before each reading. */
async function watch(step: (second: number) => number | undefined, limitMs = 60_000): Promise<Watched> {
  const said: string[] = [];
  let second = 0;
  let helm = step(0);
  const options = {
    config,
    namespace: 'weft-system',
    limitMs,
    exitCode: () => helm,
    print: (line: string) => void said.push(line),
    nowMs: () => second * 1_000,
    tick: () => {
      helm = step(++second);
      return Promise.resolve();
    },
  };
  try {
    return { said, code: await watchInstall(options), tookMs: second * 1_000 };
  } catch (error) {
    return { said, error: error as WeftError, tookMs: second * 1_000 };
  }
}

test('each change is printed once, and the watch ends when helm has ended and all replicas are ready', async () => {
  const { said, code } = await watch((second) => {
    set(Math.min(2, Math.floor(second / 3)), Math.min(2, Math.floor(second / 5)));
    return second >= 4 ? 0 : undefined;
  });
  assert.equal(code, 0);
  assert.deepEqual(said, [
    'control plane  0 of 2 ready',
    'agents         0 of 2 ready',
    'control plane  1 of 2 ready',
    'agents         1 of 2 ready',
    'control plane  2 of 2 ready',
    'agents         2 of 2 ready',
  ]);
});

test('an installation with carriers is complete once every carrier is ready', async () => {
  const { said, code, tookMs } = await watch((second) => {
    set(2, 2);
    const carriers = { ...daemonSet(second < 4 ? 1 : 2), metadata: { name: 'weft-carrier', generation: 1 } };
    objects = { ...objects, [`${apps}/daemonsets/weft-carrier`]: carriers };
    return 0;
  });
  assert.equal(code, 0);
  assert.equal(tookMs, 4_000);
  assert.deepEqual(said.slice(-2), ['carriers       1 of 2 ready', 'carriers       2 of 2 ready']);
});

test('a failed image pull is printed at once and ends the installation before the time limit', async () => {
  const { said, error, tookMs } = await watch((second) => {
    set(0, 0, [podWaits('weft-control-a', second % 2 ? 'ImagePullBackOff' : 'ErrImagePull', 'not found')]);
    return undefined;
  }, 600_000);
  assert.equal(error?.code, 'WEFT_IMAGE_PULL');
  assert.match(error.message, /weft-control-a on n1: image r\.example\/weft:1 cannot be pulled.*not found/);
  assert.match(error.message, /What to do: .*--image/);
  assert.equal(tookMs, settleMs);
  assert.match(said.join('\n'), /^pod weft-control-a on n1: image r\.example\/weft:1 cannot be pulled/m);
});

test('a pull that succeeds at the second attempt does not end the installation', async () => {
  const { code } = await watch((second) => {
    if (second < 15) set(0, 0, [podWaits('weft-control-a', 'ErrImagePull', 'timeout')]);
    else set(2, 2);
    return second >= 30 ? 0 : undefined;
  });
  assert.equal(code, 0);
});

test('pods that admission refuses are reported from new events, not from old ones', async () => {
  const event = (uid: string) => ({
    metadata: { uid, resourceVersion: '1' },
    involvedObject: { kind: 'DaemonSet', name: 'weft-agent' },
    reason: 'FailedCreate',
    type: 'Warning',
    message: 'pods "weft-agent-" is forbidden: violates PodSecurity "baseline:latest": host namespaces',
  });
  const before = await watch((second) => {
    set(2, second > 25 ? 2 : 0, [], [event('old')]);
    return 0;
  });
  assert.equal(before.code, 0);
  const { error } = await watch((second) => {
    set(2, 0, [], second === 0 ? [event('old')] : [event('old'), event('new')]);
    return undefined;
  });
  assert.equal(error?.code, 'WEFT_POD_REFUSED');
  assert.match(error.message, /DaemonSet weft-agent: .*violates PodSecurity.*enforce=privileged/);
});

test('an unschedulable pod ends the installation only at the time limit, with the reason', async () => {
  const unschedulable = {
    metadata: { name: 'weft-control-a', labels: { app: 'weft-control' } },
    spec: {},
    status: {
      phase: 'Pending',
      conditions: [{ type: 'PodScheduled', status: 'False', message: '0/2 nodes are available' }],
    },
  };
  const { error, tookMs } = await watch(() => {
    set(0, 0, [unschedulable]);
    return undefined;
  });
  assert.equal(error?.code, 'WEFT_POD_UNSCHEDULABLE');
  assert.match(error.message, /0\/2 nodes are available/);
  assert.equal(tookMs, 60_000);
});

test('the timeout error names the pods that are not ready, with the message of the kubelet', async () => {
  const pod = podWaits('weft-agent-a', 'ContainerCreating', '');
  const event = {
    metadata: { uid: 'e', resourceVersion: '1' },
    involvedObject: { kind: 'Pod', name: 'weft-agent-a' },
    reason: 'FailedMount',
    type: 'Warning',
    message: 'configmap "weft-ca-root-cert" not found',
  };
  const { error } = await watch((second) => {
    set(2, 1, [pod], second === 0 ? [] : [event]);
    return undefined;
  });
  assert.equal(error?.code, 'WEFT_INSTALL_TIMEOUT');
  assert.match(error.message, /weft-agent-a on n1 is not ready: FailedMount: configmap/);
});

test('the watch survives a short outage of the API server, and ends when helm fails', async () => {
  const { code, said } = await watch((second) => {
    if (second < 3) objects = { [`${system}/events`]: { items: [] }, [`${system}/pods`]: 503 };
    else set(2, 2);
    return second >= 4 ? 0 : undefined;
  });
  assert.equal(code, 0);
  assert.equal(said.filter((line) => line.includes('does not respond')).length, 1);
  assert.equal((await watch((second) => (second > 1 ? 3 : undefined))).code, 3);
});

test('weft check reports why the control plane and the agents do not run, and what to do', async () => {
  set(0, 0, [
    podWaits('weft-control-a', 'ImagePullBackOff', 'denied'),
    podWaits('weft-agent-a', 'ErrImagePull', ''),
  ]);
  objects['/version'] = { gitVersion: 'v1.34.0' };
  objects['/api/v1/nodes'] = {
    items: [{ metadata: { name: 'n1' }, status: { nodeInfo: { kernelVersion: '6.6' } } }],
  };
  for (const path of ['/api/v1/namespaces', '/api/v1/services', '/api/v1/pods'])
    objects[path] = { items: [] };
  const findings = await checkCluster(config, 'weft-system');
  const failed = findings.filter(({ level }) => level === 'fail');
  assert.deepEqual(
    failed.map(({ what }) => what),
    [
      'no replica of the control plane is ready',
      'pod weft-control-a on n1: image r.example/weft:1 cannot be pulled: ImagePullBackOff: denied',
      'the agent of n1 does not respond: image r.example/weft:1 cannot be pulled: ErrImagePull',
    ],
  );
  for (const { help } of failed.slice(1)) assert.match(help ?? '', /weft install --image/);
});

test('weft status prints its table without a control plane, and lists what could not be read', async () => {
  objects = {
    '/api/v1/nodes': { items: [{ metadata: { name: 'n1' } }] },
    [`${system}/pods`]: {
      items: [podWaits('weft-agent-a', 'ImagePullBackOff', 'no such image')],
    },
    '/api/v1/namespaces': {
      items: [
        {
          metadata: {
            name: 'shop',
            labels: { 'weft.dev/mesh': 'enabled', 'weft.dev/mode': 'strict', 'weft.dev/waypoint': 'w' },
          },
        },
        { metadata: { name: 'other' } },
      ],
    },
    '/api/v1/pods': { items: [] },
    '/apis/weft.dev/v1alpha1/meshsettings': 403,
  };
  const status = await clusterStatus(config, 'weft-system');
  const text = [...clusterLines(status, false, 0)].join('\n');
  assert.equal(status.ok, false);
  assert.match(text, /^control plane {2}none/m);
  assert.match(
    text,
    /^n1 +no answer: image r\.example\/weft:1 cannot be pulled: ImagePullBackOff: no such image$/m,
  );
  assert.match(text, /^shop +enabled +strict +shop\/w \(there is no such Gateway\) +0 of 0/m);
  assert.doesNotMatch(text, /^other/m);
  assert.match(text, /^NOT KNOWN\nMeshSettings: .*403/m);
  objects[`${apps}/deployments/weft-control`] = deployment(0);
  const unavailable = [...clusterLines(await clusterStatus(config, 'weft-system'), false, 0)].join('\n');
  assert.match(
    unavailable,
    /^control plane {2}0 of 2 ready, r\.example\/weft:1\n +unavailable: nodes keep their last configuration/m,
  );
  assert.match(unavailable, /^n1 +no answer/m);
});
