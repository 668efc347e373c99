import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kindNames, kinds } from './kinds.js';

test('the table names a status function for every kind whose status the control plane writes', () => {
  assert.deepEqual(
    kindNames.filter((kind) => kinds[kind].status),
    [
      'Service',
      'AccessPolicy',
      'MeshSettings',
      'ExternalService',
      'Workload',
      'GatewayClass',
      'Gateway',
      'HTTPRoute',
      'GRPCRoute',
      'TLSRoute',
      'TCPRoute',
    ],
  );
});
