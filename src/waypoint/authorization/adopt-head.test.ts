import assert from 'node:assert/strict';
import { test } from 'node:test';
import { key, service, id } from '../../../test/support/mesh.js';
import { meshOf } from '../../../test/support/waypoint.js';
import { parseIp } from '../../model/address.js';
import { clientOf } from '../listener/client.js';
import { WaypointState } from '../state/waypoint-state.js';
import { RequestAuthorization } from './request-authorization.js';

test('a head counts as the client’s only until the Service’s policies are evaluated; claims count always', () => {
  const state = new WaypointState('node-1', key('waypoint'));
  state.apply({ mesh: meshOf({ api: [8080] }) });
  const head = {
    method: 'GET',
    path: '/a?t=1',
    authority: 'api',
    scheme: 'http',
    headers: ['x-role', 'user'],
  };
  const dialed = { ip: parseIp('10.96.0.1'), port: 80 };
  const found = state.view.service(key('api')) ?? service('api', '10.96.0.1');
  const authorization = new RequestAuthorization(
    state,
    clientOf(id('web'), { ip: parseIp('10.0.0.1'), port: 1 }),
    { kind: 'service', service: found, port: 80, dialed },
    head,
  );
  head.path = '/a';
  authorization.adoptHead();
  assert.equal(authorization.path, '/a');
  assert.equal(authorization.ofService(), undefined);
  // A rule changes the request, and then a filter authenticates the client.
  authorization.saveHeaders();
  head.headers = ['x-role', 'admin'];
  head.path = '/changed';
  authorization.claims = { sub: 'ann' };
  authorization.adoptHead();
  const { header, claims } = authorization.originalAttributes();
  assert.deepEqual([authorization.path, header('x-role'), claims], ['/a', 'user', { sub: 'ann' }]);
});
