/**
 * Rows 4, 6 and 7 of docs/security.md: whoever invents names of keys, a stolen node credential and a compromised waypoint cause no more than the
 * bounded requests to issuers whose key sets the waypoint's own policies name.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { RefetchRequests, refetchRequestLimits } from '../../control/jwks/refetch-requests.js';
import { until } from '../../src/base/wait.js';
import { keySetType, typeUrls } from '../../src/discovery/types.js';
import { subscribe } from '../../src/discovery/subscription.js';
import { readServicePolicy } from '../../src/discovery/codec/service-policy.js';
import { issueToken } from '../support/tokens.js';
import { follow, startControl, type Closers } from './support/control.js';
import { manifests } from './support/two-nodes.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

const uriOf = (namespace: string): string => `https://${namespace}.example/keys`;
const served = (namespace: string, ip: string): string => `---
kind: Service
metadata: { name: api, namespace: ${namespace}, labels: { weft.dev/waypoint: wp } }
spec: { selector: { app: api }, clusterIP: ${ip}, ports: [{ port: 80 }, { port: 81 }] }
---
apiVersion: weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: { name: users, namespace: ${namespace} }
spec:
  targetRefs: [{ group: '', kind: Service, name: api }]
  jwt: { issuers: [{ issuer: a, jwks: { uri: '${uriOf(namespace)}' } }, { issuer: b, jwks: { uri: '${uriOf(namespace)}' } }] }
`;
const bankWaypoint = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: bank }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;

test('a waypoint reaches the fetcher only with the sets of its own policies; an agent and a flood reach it with none, and streams live on', async () => {
  const [fetched, results, limits]: [string[], string[], string[]] = [[], [], []];
  const control = await startControl(
    closers,
    `${manifests}${bankWaypoint}${served('shop', '10.96.0.1')}${served('bank', '10.96.0.2')}`,
    { onKeysWanted: (caller, uris) => requests.take(caller, uris) },
  );
  const requests = new RefetchRequests({
    keySetsOf: (waypoint) => control.resources.keySetsOf(waypoint),
    refetch: (uri) => (fetched.push(uri), 'planned'),
    onRequest: (result) => results.push(result),
    onLimit: (limit) => limits.push(limit),
  });
  const connected = async (caller: string) => {
    const subscription = subscribe(
      typeUrls.servicePolicy,
      readServicePolicy,
      () => undefined,
      () => undefined,
    );
    const seen = follow(closers, control, await issueToken(control.state, caller, 60), [subscription]);
    await until(`${caller} is connected`, 20_000, () => seen.synced);
    return seen;
  };
  const waypoint = await connected('waypoint:shop/wp');
  waypoint.client.request(keySetType, [uriOf('shop'), uriOf('bank'), 'http://169.254.169.254/']);
  await until('the request is decided', 20_000, () => results.length === 3);
  assert.deepEqual([fetched, results], [[uriOf('shop')], ['planned', 'refused', 'refused']]);

  const agent = await connected('n1');
  agent.client.request(keySetType, [uriOf('shop')]);
  await until("the agent's request is decided", 20_000, () => results.length === 4);
  assert.deepEqual([fetched.length, results.at(-1)], [1, 'refused']);

  const many = Array.from({ length: refetchRequestLimits.uris + 1 }, (_, i) => `https://${i}.example`);
  waypoint.client.request(keySetType, many);
  for (let i = 0; i < 2 * refetchRequestLimits.burst; i++) waypoint.client.request(keySetType, []);
  await until('the limits are reached', 20_000, () => limits.length >= 2);
  assert.deepEqual(new Set(limits), new Set(['jwks-refetch-requests']));
  assert.equal(fetched.length, 1);
  for (const { states } of [waypoint, agent]) assert.deepEqual(states, ['connected']);
  // Another waypoint's requests are not affected.
  (await connected('waypoint:bank/wp')).client.request(keySetType, [uriOf('bank')]);
  await until("the bank's set is fetched", 20_000, () => fetched.length === 2);
  assert.deepEqual(fetched, [uriOf('shop'), uriOf('bank')]);
});
