import assert from 'node:assert/strict';
import { test } from 'node:test';
import { controlCaller } from './service-callers.js';
import { accountOfReview, callerOf } from './token-review.js';

const account = 'system:serviceaccount:weft-system:weft-agent';
const review = (more: object = {}, extra: object = {}): Parameters<typeof accountOfReview>[0] => ({
  status: {
    authenticated: true,
    audiences: ['istio-ca'],
    user: {
      username: account,
      extra: {
        'authentication.kubernetes.io/node-name': ['node1'],
        'authentication.kubernetes.io/pod-uid': ['u'],
        ...extra,
      },
    },
    ...more,
  },
});

const nodeOfReview = (given: Parameters<typeof accountOfReview>[0], agents: string): string | undefined => {
  const reviewed = accountOfReview(given);
  return reviewed && callerOf(reviewed, agents, () => false);
};

test("an agent's token authenticates the node of its pod; other accounts, audiences and unbound tokens are refused", () => {
  assert.equal(nodeOfReview(review(), account), 'node1');
  const refused: [string, Parameters<typeof accountOfReview>[0]][] = [
    ['not authenticated', review({ authenticated: false })],
    ['of another audience', review({ audiences: ['https://kubernetes.default.svc'] })],
    ["another account's", review({ user: { username: 'system:serviceaccount:shop:web', extra: {} } })],
    ['bound to no node', review({}, { 'authentication.kubernetes.io/node-name': undefined })],
    ['bound to no pod', review({}, { 'authentication.kubernetes.io/pod-uid': undefined })],
    ['of two nodes', review({}, { 'authentication.kubernetes.io/node-name': ['a', 'b'] })],
    ['empty', {}],
  ];
  for (const [what, given] of refused) assert.equal(nodeOfReview(given, account), undefined, what);
});

test("a waypoint's token authenticates the Gateway of its account's name, as long as that Gateway exists", () => {
  const isWaypoint = ({ namespace, name }: { namespace: string; name: string }): boolean =>
    namespace === 'shop' && name === 'wp';
  const of = (as: string): string | undefined => callerOf({ account: as, node: 'n1' }, account, isWaypoint);
  assert.equal(of('system:serviceaccount:shop:wp'), 'waypoint:shop/wp');
  for (const other of [
    'system:serviceaccount:other:wp',
    'system:serviceaccount:shop:web',
    'system:serviceaccount:shop:wp:wp',
    'shop:wp',
    'alice',
  ])
    assert.equal(of(other), undefined, other);
  assert.equal(of(account), 'n1');
});

test("the control plane's own account is that of its namespace, and no other account of that name", () => {
  const of = (as: string): string | undefined => callerOf({ account: as, node: 'n1' }, account, () => false);
  const [, namespace = ''] = /^system:serviceaccount:([^:]+):/.exec(account) ?? [];
  assert.equal(of(`system:serviceaccount:${namespace}:weft-control`), controlCaller);
  assert.equal(of('system:serviceaccount:shop:weft-control'), undefined);
});
