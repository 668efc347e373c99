import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkedPolicy } from './istio-policies.js';

const metadata = { name: 'p', namespace: 'shop' };
const gateway = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'wp' };

test('ports of operations and of conditions are ports of the policy; an empty selector is none', () => {
  const rules = [
    {
      to: [{ operation: { ports: ['80'], notPorts: ['81'] } }],
      when: [
        { key: 'destination.port', values: ['82'] },
        { key: 'source.ip', values: ['10.0.0.1'] },
      ],
    },
  ];
  assert.deepEqual(checkedPolicy({ metadata, spec: { selector: {}, rules } }), {
    kind: 'AuthorizationPolicy',
    metadata,
    spec: {
      action: 'ALLOW',
      rules: [
        {
          to: [
            { ports: [80], notPorts: [81] },
            { ports: [82], notPorts: [] },
          ],
        },
      ],
    },
  });
});

test('a policy of a waypoint has no pods to compare with', () => {
  assert.equal(checkedPolicy({ metadata, spec: { targetRef: gateway } }), undefined);
  const service = { kind: 'Service', name: 'api' };
  assert.deepEqual(checkedPolicy({ metadata, spec: { targetRef: service } })?.spec.targetRefs, [service]);
  assert.equal(checkedPolicy({ metadata })?.spec.action, 'ALLOW');
});
