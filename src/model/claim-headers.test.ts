import assert from 'node:assert/strict';
import { test } from 'node:test';
import { claimHeader } from './claim-headers.js';

test('a token sets headers of any other name, in lower case', () => {
  for (const name of ['X-User', 'x_user', 'authorization', 'x-forwarded', 'hosts', 'tenant'])
    assert.equal(claimHeader(name), name.toLowerCase());
});

test('a token sets no header that frames a message, belongs to a connection, or tells who the client is', () => {
  for (const name of [
    ...['Content-Length', 'transfer-encoding', 'connection', 'keep-alive', 'te', 'trailer', 'upgrade'],
    ...['proxy-connection', 'proxy-authorization', 'http2-settings'],
    ...['Host', 'FORWARDED', 'x-forwarded-for', 'x-forwarded-client-cert', 'x-envoy-peer-metadata'],
    ...['x-weft-anything', ':authority', ':path', '', 'a b', 'a:b', 'a\n', 'ä'],
  ])
    assert.equal(claimHeader(name), undefined, JSON.stringify(name));
});
