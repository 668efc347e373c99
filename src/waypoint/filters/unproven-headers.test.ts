/** Headers that only a valid token may set, where tokens are in dry run or audit mode, on the ways that do not validate any. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filter } from '../../../test/support/filters.js';
import { id, identity, key } from '../../../test/support/mesh.js';
import { issuerOf, jwtFilter, newKey, signed } from '../../../test/support/jwt-issuer.js';
import {
  askEcho,
  backend,
  echoHandler,
  eventually,
  httpUpstream,
  RawClient,
  rawUpstream,
  route,
  startWaypoint,
} from '../../../test/support/waypoint.js';
import type { RouteFilter } from '../../model/route.js';

const signing = newKey('ES256', 'k1');
const issuer = issuerOf(signing, { claimHeaders: [{ header: 'x-user', claim: ['sub'] }] });
const tried = jwtFilter([issuer], { required: true, dryRun: true });
const forged = { 'x-user': 'root', x_user: 'root' };
const at = (value: string) => [{ path: { kind: 'prefix' as const, value }, headers: [], query: [] }];
const policyOf = (name: string, filters: RouteFilter[]) => ({
  service: key(name),
  port: 80,
  origins: [],
  filters,
});

test('no client makes them up by a route of another Service, unless that validates tokens of the same issuer', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('guarded'));
  const other = await httpUpstream(t, echoHandler('api'));
  const waypoint = await startWaypoint(t, {
    identity: id('web'),
    backends: { api: [other.port], guarded: [upstream.port] },
    routes: [route('r', [{ matches: at('/to'), backends: [backend('guarded')] }, { matches: at('/') }])],
  });
  const users = async (path: string, headers: Record<string, string> = forged): Promise<unknown[]> => {
    const { headers: seen } = await askEcho(waypoint.port, { path, headers });
    return [seen['x-user'], seen['x_user']];
  };
  assert.deepEqual(await users('/to'), ['root', 'root'], 'without a policy');
  waypoint.apply({ servicePolicies: [policyOf('guarded', [tried])] });
  assert.deepEqual(await users('/to'), [undefined, undefined]);
  assert.deepEqual(await users('/'), ['root', 'root'], 'to a Service without tokens');
  waypoint.apply({ servicePolicies: [policyOf('api', [jwtFilter([issuer])])] });
  const token = { ...forged, authorization: `Bearer ${signed(signing)}` };
  assert.deepEqual(await users('/to', token), ['ann', undefined]);
  assert.deepEqual(await users('/to'), [undefined, undefined]);
  const others = jwtFilter([issuerOf(newKey('ES256', 'k2'), { ...issuer, issuer: 'https://others.test' })], {
    dryRun: true,
  });
  waypoint.apply({ servicePolicies: [policyOf('guarded', [others])] });
  assert.deepEqual(
    await users('/to', token),
    [undefined, undefined],
    'of an issuer that the port does not name',
  );
  waypoint.apply({ servicePolicies: [policyOf('guarded', [jwtFilter([issuer]), others])] });
  assert.deepEqual(
    await users('/to', token),
    ['ann', undefined],
    'of an issuer of another policy of the port',
  );
});

test('no author of a client’s route makes them up in place of what the token proves', async (t) => {
  const upstream = await httpUpstream(t, echoHandler('api'));
  const change = filter('requestHeaders', { set: [{ name: 'x-user', value: 'root' }], add: [], remove: [] });
  const waypoint = await startWaypoint(t, {
    identity: identity('far', 'web'),
    backends: { api: [upstream.port] },
    routes: [route('r', [{ filters: [change] }], { namespace: 'far' })],
  });
  const user = async (headers: Record<string, string>): Promise<unknown> =>
    (await askEcho(waypoint.port, { headers })).headers['x-user'];
  assert.equal(await user({}), 'root', 'without a policy');
  waypoint.apply({ servicePolicies: [policyOf('api', [tried])] });
  assert.equal(await user({}), undefined);
  assert.equal(await user({ authorization: 'Bearer x' }), undefined);
  assert.equal(await user({ authorization: `Bearer ${signed(signing)}` }), 'ann');
});

test('connections that are not HTTP, and copies of requests, are not refused because of them', async (t) => {
  const port = await rawUpstream(t, (socket) => void socket.write('hello'));
  const waypoint = await startWaypoint(t, { backends: { api: [port] } });
  waypoint.apply({ servicePolicies: [policyOf('api', [tried])] });
  const client = await RawClient.open(waypoint.port);
  client.write(Buffer.from([0x16, 3, 1, 0, 5]));
  await client.until((text) => text === 'hello');

  const copies: unknown[] = [];
  const copy = await httpUpstream(t, (request, response) => {
    request.resume().on('end', () => {
      copies.push([request.headers['x-user'], request.headers['x_user'], request.trailers['x-user']]);
      response.end();
    });
  });
  const upstream = await httpUpstream(t, echoHandler('api'));
  const target = { service: key('guarded'), port: 80, invalid: '' };
  const mirrored = await startWaypoint(t, {
    backends: { api: [upstream.port], guarded: [copy.port] },
    routes: [
      route('r', [{ filters: [filter('mirror', { backend: target, numerator: 1, denominator: 1 })] }]),
    ],
  });
  mirrored.apply({ servicePolicies: [policyOf('guarded', [tried])] });
  await askEcho(mirrored.port, { headers: forged });
  await eventually(() => copies.length === 1, 'the copy');
  assert.deepEqual(
    copies,
    [[undefined, undefined, undefined]],
    'a copy has no headers that nobody has proven',
  );
});
