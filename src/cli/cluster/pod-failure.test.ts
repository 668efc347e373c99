import assert from 'node:assert/strict';
import { test } from 'node:test';
import { podFailure, refusalFailure, type PodItem } from './pod-failure.js';

const pod = (status: PodItem['status'], more: object = {}): PodItem => ({
  metadata: { name: 'weft-agent-x', labels: { app: 'weft-agent' } },
  spec: { nodeName: 'n1', containers: [{ name: 'agent', image: 'weft:0.1.0' }] },
  ...(status ? { status } : {}),
  ...more,
});
const waiting = (reason: string, message?: string, more: object = {}): PodItem =>
  pod({
    phase: 'Pending',
    containerStatuses: [
      { name: 'agent', state: { waiting: { reason, ...(message ? { message } : {}) } }, ...more },
    ],
  });

test('a failed image pull names the image, the reason and how to set another image', () => {
  for (const reason of ['ErrImagePull', 'ImagePullBackOff', 'ErrImageNeverPull', 'InvalidImageName']) {
    const failure = podFailure(waiting(reason, 'pull access denied'));
    assert.equal(failure?.code, 'WEFT_IMAGE_PULL');
    assert.equal(failure.why, `image weft:0.1.0 cannot be pulled: ${reason}: pull access denied`);
    assert.equal(failure.subject, 'pod weft-agent-x on n1');
    assert.match(failure.help, /npm run image .*weft install --image/);
  }
});

test('a crash loop shows the exit code and the last line of the program, and an OOM kill is named', () => {
  const crash = podFailure(
    waiting('CrashLoopBackOff', 'back-off 10s', {
      restartCount: 3,
      lastState: { terminated: { exitCode: 1, reason: 'Error', message: 'a\nWEFT_NO_CGROUP2: no cgroup\n' } },
    }),
  );
  assert.equal(crash?.code, 'WEFT_POD_CRASHES');
  assert.match(crash.why, /3 restarts\): exit code 1: WEFT_NO_CGROUP2: no cgroup$/);
  const memory = podFailure(
    waiting('CrashLoopBackOff', '', {
      restartCount: 1,
      lastState: { terminated: { exitCode: 137, reason: 'OOMKilled' } },
    }),
  );
  assert.match(memory?.why ?? '', /OOMKilled/);
});

test('an unschedulable pod shows the message of the scheduler, and may pass without an action', () => {
  const failure = podFailure(
    pod({
      phase: 'Pending',
      conditions: [
        {
          type: 'PodScheduled',
          status: 'False',
          reason: 'Unschedulable',
          message: '0/1 nodes are available',
        },
      ],
    }),
  );
  assert.equal(failure?.code, 'WEFT_POD_UNSCHEDULABLE');
  assert.match(failure.why, /0\/1 nodes are available/);
  assert.equal(failure.mayPass, true);
});

test('a pod that starts, runs or is being deleted has no failure; an unknown waiting reason is one', () => {
  assert.equal(podFailure(waiting('ContainerCreating')), undefined);
  assert.equal(podFailure(waiting('PodInitializing')), undefined);
  assert.equal(
    podFailure(pod({ phase: 'Running', containerStatuses: [{ name: 'agent', state: {} }] })),
    undefined,
  );
  const deleted = waiting('ErrImagePull');
  assert.equal(
    podFailure({ ...deleted, metadata: { ...deleted.metadata, deletionTimestamp: 'x' } }),
    undefined,
  );
  assert.equal(podFailure(waiting('CreateContainerConfigError', 'no secret'))?.code, 'WEFT_POD_NOT_STARTED');
});

test('a refusal by Pod Security, quota, a priority class or a webhook says what to do', () => {
  const help = (message: string): string => refusalFailure('DaemonSet weft-agent', message, 'mesh').help;
  assert.match(
    help('pods "x" is forbidden: violates PodSecurity "baseline:latest": hostPath'),
    /kubectl label namespace mesh .*=privileged/,
  );
  assert.match(
    help('pods "x" is forbidden: exceeded quota: q, requested: cpu=100m'),
    /ResourceQuota of namespace mesh/,
  );
  assert.match(
    help('insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]'),
    /priorityClassName/,
  );
  assert.match(help('admission webhook "x" denied the request'), /admission policy or webhook/);
});
