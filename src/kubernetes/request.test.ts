import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';
import { ApiError, requestJson } from './request.js';

const config = new KubeConfig();
config.loadFromOptions({
  // No server listens there, so a request that is sent fails with a different error.
  clusters: [{ name: 'c', server: 'https://127.0.0.1:1' }],
  users: [{ name: 'u' }],
  contexts: [{ name: 'x', cluster: 'c', user: 'u' }],
  currentContext: 'x',
});
const why = async (path: string): Promise<string> => {
  try {
    await requestJson(config, 'GET', path);
  } catch (error) {
    assert.ok(error instanceof ApiError);
    return error.message;
  }
  throw new Error('nobody listens, and it was answered');
};

test('a path that would address something else is not requested', async () => {
  for (const path of [
    '/api/v1/namespaces/shop/configmaps/../../weft-system/secrets/weft-ca',
    '/api/v1/namespaces/shop/configmaps/..',
    '/api/v1/namespaces/shop/configmaps/%2e%2e/%2e%2e/x',
    '/api/v1/namespaces/shop/configmaps/a#b',
    '/api/v1/namespaces/shop/configmaps/a\\..\\b',
    '//evil.test/x',
    'https://evil.test/x',
  ])
    assert.match(await why(path), /is not a plain path/, path);
  for (const path of [
    '/api/v1/namespaces/shop/configmaps/a.b',
    '/api/v1/pods?labelSelector=app%3Dweft-agent&limit=1',
    '/apis/apps/v1/namespaces/a/deployments/b?fieldManager=weft&force=true',
  ])
    assert.match(await why(path), /ECONNREFUSED/, path);
});
