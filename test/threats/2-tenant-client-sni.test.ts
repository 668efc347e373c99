/**
 * Row 2 of docs/security.md: a client cannot evade a rule on TLS server names. Whatever it sends, the endpoint gets no byte unless every reader
 * of the connection finds a name that the policies allow. A real waypoint reads the bytes.
 */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { AuthorizationPolicy, StringMatch } from '../../src/model/policy.js';
import type { AppProtocol } from '../../src/model/workload.js';
import {
  extension,
  helloExtensions,
  helloFor,
  helloMessage,
  inRecords,
  serverNames,
  tlsRecord,
} from '../support/client-hello.js';
import { id, key, policy } from '../support/mesh.js';
import { RawClient, rawUpstream, startWaypoint, type TestWaypoint } from '../support/waypoint.js';

const exact = (value: string): StringMatch => ({ kind: 'exact', value });
const names = (...of: string[]) => ({ serverNames: of.map(exact), notServerNames: [] });
const except = (...of: string[]) => ({ serverNames: [], notServerNames: of.map(exact) });
const secret = '\x01the endpoint has answered';

interface Scene {
  readonly waypoint: TestWaypoint;
  /** What endpoints got. */
  readonly got: () => string;
}
interface SceneOptions {
  readonly protocol?: AppProtocol;
  readonly dials?: 'service' | 'pod';
}
async function scene(
  t: TestContext,
  policies: readonly AuthorizationPolicy[],
  { protocol = 'unknown', dials = 'service' }: SceneOptions = {},
): Promise<Scene> {
  let got = '';
  const port = await rawUpstream(t, (socket) => {
    socket.write(secret);
    socket.on('data', (bytes: Buffer) => (got += bytes.toString('latin1')));
  });
  const waypoint = await startWaypoint(t, {
    backends: { api: [port] },
    protocol,
    policies,
    identity: id('intruder'),
    limits: { detectTimeoutMsMax: 500, headTimeoutMsMax: 500 },
    ...(dials === 'pod' ? { podPort: port } : {}),
  });
  return { waypoint, got: () => got };
}

const good = 'good.test';
const bad = 'bad.test';
const goodNames = serverNames([good]);
const badNames = serverNames([bad]);
const hello = (...extensions: Buffer[]): Buffer => inRecords(helloMessage(extensions));
/** What a client may send to reach `bad.test`, or anything, where only `good.test` is allowed. */
const attacks: Readonly<Record<string, Buffer>> = {
  'the name itself': helloFor(bad),
  'in another case': helloFor('BAD.Test'),
  'with a final dot': helloFor('bad.test.'),
  'in records of 7 bytes': inRecords(helloMessage([badNames]), 7),
  'in records of 1 byte': inRecords(helloMessage([badNames]), 1),
  'two names, the allowed one first': helloFor(good, bad),
  'two names, the allowed one last': helloFor(bad, good),
  'two extensions, the allowed name first': hello(goodNames, badNames),
  'two extensions, the allowed name last': hello(badNames, goodNames),
  'no name': hello(),
  'an empty name': helloFor(''),
  'a name with NUL': helloFor('good.test\0.bad.test'),
  'a name of another type': hello(serverNames([bad], 1)),
  'an encrypted name behind the allowed one': hello(
    goodNames,
    extension(helloExtensions.encryptedClientHello, Buffer.alloc(64)),
  ),
  'a second ClientHello in the same record': tlsRecord(
    0x16,
    Buffer.concat([helloMessage([goodNames]), helloMessage([badNames])]),
  ),
  'a second ClientHello in the next record': Buffer.concat([helloFor(good), helloFor(bad)]),
  'a second ClientHello behind early data': Buffer.concat([
    hello(goodNames, extension(helloExtensions.earlyData)),
    tlsRecord(0x14, Buffer.from([1])),
    tlsRecord(0x17, Buffer.from('early')),
    helloFor(bad),
  ]),
  'a ClientHello of 20 KiB': hello(extension(21, Buffer.alloc(20_000)), badNames),
  'a ClientHello without its end': helloFor(bad).subarray(0, -1),
  'an alert before it': Buffer.concat([tlsRecord(0x15, Buffer.from([1, 0])), helloFor(bad)]),
  'SSL 2': Buffer.from([0x80, 0x2e, 0x01, 0x03, 0x01, 0, 0x15, 0, 0, 0, 0x10]),
  STARTTLS: Buffer.from('EHLO x\r\nSTARTTLS\r\n'),
  'plain HTTP': Buffer.from(`GET / HTTP/1.1\r\nHost: ${good}\r\n\r\n`),
  'plain HTTP/2': Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0', 'latin1'),
  CONNECT: Buffer.from(`CONNECT ${good}:443 HTTP/1.1\r\nHost: ${good}:443\r\n\r\n`),
  'an upgrade': Buffer.from(
    `GET / HTTP/1.1\r\nHost: ${good}\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n\r\n`,
  ),
  nothing: Buffer.alloc(0),
};

/**
 * They begin with a ClientHello of the allowed name, which passes if the rest has not arrived yet: what happens to the rest then has tests of its
 * own below.
 */
const wholeOnly: ReadonlySet<string> = new Set([
  'a second ClientHello in the next record',
  'a second ClientHello behind early data',
]);

async function assertNothingPasses(
  { waypoint, got }: Scene,
  attack: string,
  bytes: Buffer,
  rule: string,
): Promise<void> {
  const what = `${rule}: ${attack}`;
  for (const isSplit of wholeOnly.has(attack) ? [false] : [false, true]) {
    const client = await RawClient.open(waypoint.port);
    if (isSplit) for (const byte of bytes.subarray(0, 200)) client.write(Buffer.from([byte]));
    client.write(isSplit ? bytes.subarray(200) : bytes);
    // HTTP gets a response, and the connection stays open.
    await client.until((text) => text !== '', what).catch(() => undefined);
    client.socket.destroy();
    assert.ok(!client.text.includes(secret), `${what}: the endpoint was reached`);
    assert.equal(got(), '', what);
  }
}

const onApi = { services: [key('api')] };
const rules: Readonly<Record<string, AuthorizationPolicy>> = {
  'ALLOW of the pod': policy('p', 'allow', { tls: names(good) }),
  'ALLOW of the Service': policy('p', 'allow', { tls: names(good) }, onApi),
  'DENY of all other names': policy('p', 'deny', { tls: except(good) }),
  'DENY of the name': policy('p', 'deny', { tls: names(bad) }, onApi),
};

for (const [rule, one] of Object.entries(rules))
  for (const dials of ['service', 'pod'] as const) {
    // The address of a pod is not the Service's: the Service's policies apply by its endpoint.
    test(`no ClientHello evades the rule: ${rule}, by the address of the ${dials}`, async (t) => {
      const run = await scene(t, [one], { dials });
      await Promise.all(
        Object.entries(attacks).map(([what, bytes]) => assertNothingPasses(run, what, bytes, rule)),
      );
      assert.ok(run.waypoint.relayed.length > 20);
      assert.ok(run.waypoint.relayed.every((why) => why !== undefined));
      assert.ok(run.waypoint.relayed.some((why) => why?.includes('TLS server name: bad.test')));
    });
  }

test('a port that is declared as TLS or TCP is read as well', async (t) => {
  for (const protocol of ['tls', 'tcp'] as const) {
    const run = await scene(t, [policy('p', 'allow', { tls: names(good) })], { protocol });
    await Promise.all(
      Object.entries(attacks).map(([what, bytes]) => assertNothingPasses(run, what, bytes, protocol)),
    );
  }
});

test('a second ClientHello that comes after the first one has passed ends the connection before the endpoint gets it', async (t) => {
  const run = await scene(t, [policy('p', 'allow', { tls: names(good) })]);
  const client = await RawClient.open(run.waypoint.port);
  client.write(helloFor('Good.Test'));
  await client.until((text) => text.includes(secret), 'the endpoint responds');
  const passed = run.got();
  client.write(Buffer.concat([tlsRecord(0x14, Buffer.from([1])), helloFor(bad)]));
  await client.untilClosed();
  assert.ok(!run.got().slice(passed.length).includes(bad));
  assert.match(String(run.waypoint.relayed.at(-1)), /a second ClientHello/);
});
