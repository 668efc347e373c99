/** `rediss://` and a user of Redis' ACL, with a real server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { documentedRights, startRedis } from '../../test/support/redis.js';
import { eventually } from '../../test/support/waypoint.js';
import { parseIp } from '../model/address.js';
import { parseTrustDomain } from '../model/identity.js';
import { createRoot, issueServerCert, type KeyAndCertificate } from '../tls/issue.js';

const day = 86_400;
const root = createRoot(parseTrustDomain('redis.test'), day);
const certificateOf = (ip: string, ...dns: string[]): KeyAndCertificate =>
  issueServerCert({ caKeyPem: root.keyPem, caCertPem: root.certPem, dns, ips: [parseIp(ip)], ttlS: day });
const web = { namespace: 'shop', serviceAccount: 'web' };
const asked = {
  key: 'a',
  hits: 1,
  limit: 10,
  unitMs: 3_600_000,
  client: 'c',
  group: 'g',
  limitKey: 'limit',
};

test('rediss:// counts through TLS, and the server must prove its name by the given certificates', async (t) => {
  const redis = await startRedis(t, { password: 'secret', tls: certificateOf('127.0.0.1') });
  const password = 'secret';
  const good = redis.counters(t, {}, { password, ca: () => root.certPem });
  await eventually(() => good.connection.isUp, 'connected');
  assert.equal((await good.counters.count(web, asked)).kind, 'counted');

  const other = createRoot(parseTrustDomain('redis.test'), day);
  for (const ca of [undefined, other.certPem]) {
    const refused = redis.counters(t, {}, { password, ca: () => ca });
    await eventually(() => refused.states.length > 0, 'refused');
    assert.match(refused.states[0] ?? '', /^false .*(self.signed|certificate|signature)/i);
    assert.equal((await refused.counters.count(web, asked)).kind, 'failed');
  }
  const plain = redis.counters(t, {}, { password, url: redis.url.replace('rediss:', 'redis:') });
  await eventually(() => plain.states.length > 0, 'refused', 10_000);
  assert.match(plain.states[0] ?? '', /^false /);

  // A server that was restarted is connected to again.
  await redis.restart();
  await eventually(() => good.connection.isUp, 'connected again', 10_000);
  assert.ok(![...good.states, ...plain.states].some((text) => text.includes(password)));
});

test('rediss:// refuses a server whose certificate names another host', async (t) => {
  const redis = await startRedis(t, { tls: certificateOf('127.0.0.2', 'redis.other') });
  const { counters, states } = redis.counters(t, {}, { ca: () => root.certPem });
  await eventually(() => states.length > 0, 'refused');
  assert.match(states[0] ?? '', /^false .*(altnames|IP)/i);
  assert.equal((await counters.count(web, asked)).kind, 'failed');
});

test('a user with the rights that the docs name counts, and can do nothing else', async (t) => {
  const flags = ['--user', 'weft', ...documentedRights(), '--user', 'default', 'off'];
  const redis = await startRedis(t, { flags });
  const user = { username: () => 'weft', password: 'PASSWORD' };
  const { counters, connection, states } = redis.counters(t, { countersPerCallerMax: 2 }, user);
  await eventually(() => connection.isUp, 'connected');
  assert.deepEqual(states, ['true connected']);
  for (const key of ['a', 'b', 'c'])
    assert.equal((await counters.count(web, { ...asked, key })).kind, 'counted');
  for (const command of [['KEYS', '*'], ['SET', 'other', '1'], ['CONFIG', 'GET', '*'], ['FLUSHALL']])
    await assert.rejects(connection.call(command), /NOPERM/, command.join(' '));
  const wrong = redis.counters(t, {}, { username: () => 'weft', password: 'wrong-one' });
  await eventually(() => wrong.states.length > 0, 'refused');
  assert.match(wrong.states[0] ?? '', /WRONGPASS/);
  assert.ok(!wrong.states.some((text) => text.includes('wrong-one')));
});
