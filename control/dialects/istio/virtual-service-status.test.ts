import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mesh, routed, virtualService } from '../../../test/support/virtual-services.js';
import type { Condition } from '../../objects/objects.js';
import type { StatusLookup } from '../../status/status.js';
import { virtualServiceStatus } from './virtual-service-status.js';

const gateway = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: production }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
kind: Namespace
metadata: { name: production, labels: { weft.dev/waypoint: wp } }
`;
function conditions(yaml: string, name: string, more: Partial<StatusLookup> = {}): string[] {
  const compiler = mesh(yaml);
  const object = compiler.indexes.VirtualService.get('production', name);
  assert.ok(object);
  const update = virtualServiceStatus(object, { mesh: compiler, timestamp: '2026-02-02T00:00:00Z', ...more });
  const { conditions: made } = update?.status as { conditions: Condition[] };
  return made.map(({ type, status, reason, message }) => `${type} ${status} ${reason}: ${message}`);
}
const one = virtualService('a', `{ hosts: [payment-service], http: [{ ${routed} }] }`);

test('in force, and enforced by the waypoint of its Service', () => {
  assert.deepEqual(conditions(one + gateway, 'a'), [
    'Accepted True Accepted: in force',
    'weft.dev/Enforced True Enforced: enforced at the waypoint of each Service',
  ]);
});

test('without a waypoint nothing of it is enforced', () => {
  const [accepted, enforced] = conditions(one, 'a');
  assert.equal(accepted, 'Accepted True Accepted: in force');
  assert.match(
    enforced ?? '',
    /^weft\.dev\/Enforced False NoWaypoint: Service production\/payment-service has no waypoint/,
  );
});

test('a waypoint of a version that would sort the rules has them closed', () => {
  const olderVersions = () => [{ version: '0.1.0', lacks: ['Route.ordered'] }];
  const [, enforced] = conditions(one + gateway, 'a', { olderVersions });
  assert.match(enforced ?? '', /^weft\.dev\/Enforced False UnsupportedByWaypoint: needs Route\.ordered/);
});

test('what is not carried out is in the condition Accepted, and a conflict names the other object', () => {
  const remarked = virtualService(
    'a',
    `{ hosts: [payment-service], http: [{ match: [{ statPrefix: x }], ${routed} }, { route: [{ destination: { host: gone } }] }] }`,
  );
  assert.equal(
    conditions(remarked + gateway, 'a')[0],
    'Accepted True Accepted: in force, except: http[].match[].statPrefix: no effect: metrics have the names of rules; use http[].name; http[1].route[0].destination: closed: there is no Service production/gone',
  );
  const claims = virtualService(
    'a',
    `{ hosts: [payment-service], http: [{ match: [{ withoutHeaders: { '@request.auth.claims.sub': { exact: x } } }], ${routed} }] }`,
  );
  assert.match(
    conditions(claims + gateway, 'a')[0] ?? '',
    /except: http\[0\]\.match\[0\]\.withoutHeaders\.@request\.auth\.claims\.sub: closed: claims are not matched here/,
  );
  const both = one + virtualService('b', `{ hosts: [payment-service], http: [{ ${routed} }] }`);
  assert.deepEqual(conditions(both + gateway, 'b'), [
    'Accepted False Conflicted: Service production/payment-service has VirtualService production/a',
  ]);
});
