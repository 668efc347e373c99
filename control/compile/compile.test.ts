import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeAddress } from '../../src/discovery/decode.js';
import { encodeService } from '../../src/discovery/encode.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import type { Service } from '../../src/model/service.js';
import { parseManifests } from '../source/files.js';
import { compile } from './compile.js';

function serviceOf(spec: string, settings = ''): Service {
  const { objects, errors } = parseManifests(
    'x',
    `kind: Service
metadata: { name: api, namespace: shop }
spec: { clusterIP: 10.96.0.1, ports: [{ port: 80 }]${spec && `, ${spec}`} }
${settings && `---\napiVersion: weft.dev/v1alpha1\nkind: MeshSettings\nmetadata: { name: mesh }\nspec: { ${settings} }`}
`,
  );
  assert.deepEqual(errors, []);
  const [service] = compile(objects, {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '1',
  }).services;
  assert.ok(service);
  // What nodes are told is what was compiled.
  const told = decodeAddress(encodeService(service));
  assert.ok(told.ok && told.value.kind === 'service');
  assert.deepEqual(told.value.service, service);
  return service;
}

test('which endpoints of a Service are preferred, by its own fields and the settings of the mesh', () => {
  const local = { preference: ['node'], mode: 'strict', allowUnhealthy: false };
  const preferred = { preference: ['node'], mode: 'failover', allowUnhealthy: false };
  assert.equal(serviceOf('').loadBalancing, undefined);
  assert.deepEqual(serviceOf('internalTrafficPolicy: Local').loadBalancing, local);
  assert.deepEqual(serviceOf('trafficDistribution: PreferSameNode').loadBalancing, preferred);
  assert.deepEqual(serviceOf('', 'trafficDistribution: PreferSameNode').loadBalancing, preferred);
  assert.equal(
    serviceOf('trafficDistribution: PreferClose', 'trafficDistribution: PreferSameNode').loadBalancing,
    undefined,
    'what the Service says comes first',
  );
  assert.deepEqual(serviceOf('publishNotReadyAddresses: true').loadBalancing, {
    preference: [],
    mode: 'unspecified',
    allowUnhealthy: true,
  });
});

test('session affinity by the client address is told to the nodes', () => {
  assert.equal(serviceOf('').sessionAffinity, undefined);
  assert.equal(serviceOf('sessionAffinity: None').sessionAffinity, undefined);
  assert.equal(serviceOf('sessionAffinity: ClientIP').sessionAffinity, 'client-ip');
});
