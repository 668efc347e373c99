import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseListenAddress } from './listen-address.js';

test('an address to listen on has a port; IPv6 addresses may have brackets', () => {
  assert.deepEqual(parseListenAddress('0.0.0.0:15020'), { host: '0.0.0.0', port: 15020 });
  assert.deepEqual(parseListenAddress('[::1]:80'), { host: '::1', port: 80 });
  assert.deepEqual(parseListenAddress('::1:80'), { host: '::1', port: 80 });
  assert.deepEqual(parseListenAddress(':0'), { host: '', port: 0 });
  for (const text of ['', '127.0.0.1', '127.0.0.1:', '127.0.0.1:http', '80'])
    assert.equal(parseListenAddress(text), undefined, text);
});
