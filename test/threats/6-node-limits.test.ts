/** Row 6 of docs/security.md: a stolen node credential does not use up the control plane's resources. */
import assert from 'node:assert/strict';
import type http2 from 'node:http2';
import { after, test } from 'node:test';
import { issueToken } from '../support/tokens.js';
import { sleep, until } from '../../src/base/wait.js';
import { readAddress } from '../../src/discovery/codec/address.js';
import { subscribe } from '../../src/discovery/subscription.js';
import { DeltaDiscoveryRequest } from '../../src/discovery/gen/discovery.js';
import { typeUrls } from '../../src/discovery/types.js';
import { createCsr } from '../../src/tls/csr.js';
import {
  call,
  certificatePath,
  connect,
  discoveryPath,
  follow,
  frame,
  startControl,
  type Closers,
  type RawCall,
} from './support/control.js';
import { pod, manifests, id, issuerOf } from './support/two-nodes.js';

const closers: Closers = [];
after(() => closers.reverse().forEach((close) => close()));

test('streams and large requests of one credential are limited', async () => {
  const control = await startControl(closers, manifests);
  const token = await issueToken(control.state, 'n1', 60);
  const session = connect(closers, control);
  const first = call(session, discoveryPath, token);
  await until('the connection is known', 30_000, () => control.server.streams === 1);
  const calls = [first, ...Array.from({ length: 11 }, () => call(session, discoveryPath, token))];
  await until(
    'the oldest are ended',
    30_000,
    () => calls.filter(({ ended }) => ended()?.status === '8').length === 8,
  );
  assert.equal(control.server.streams, 4);
  assert.ok(control.limits.includes('control-streams'));
  // One message is at most 32 MiB.
  const large = call(connect(closers, control), certificatePath, token);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(33 << 20, 1);
  large.stream.write(head);
  await until(
    'a message that is too large is refused by its head',
    30_000,
    () => large.ended()?.status === '8',
  );
  // A stream that requests unknown resource types keeps no state for them.
  const odd = call(connect(closers, control), discoveryPath, token);
  for (let i = 0; i < 200; i++)
    odd.stream.write(
      frame(
        DeltaDiscoveryRequest.encode(
          DeltaDiscoveryRequest.fromPartial({ typeUrl: `type.googleapis.com/x${i}` }),
        ).finish(),
      ),
    );
  await sleep(100);
  assert.equal(odd.ended(), undefined);
});

/** A discovery stream that sends requests and reads no responses. */
function stall(
  session: http2.ClientHttp2Session,
  token: string,
  ...requests: DeltaDiscoveryRequest[]
): RawCall {
  const one = call(session, discoveryPath, token);
  one.stream.pause();
  for (const request of requests) one.stream.write(frame(DeltaDiscoveryRequest.encode(request).finish()));
  return one;
}

test('callers that request all resources and read no responses do not delay other nodes', async () => {
  const many = Array.from({ length: 3_000 }, (_, i) => pod(`m${i}`, 'n9', `10.1.${i >> 8}.${i & 255}`));
  const gateways = Array.from(
    { length: 9 },
    (_, i) => `---
kind: Namespace
metadata: { name: t${i}, labels: { weft.dev/mesh: enabled } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: t${i} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`,
  );
  const control = await startControl(closers, manifests + many.join('') + gateways.join(''));
  const ask = DeltaDiscoveryRequest.fromPartial({ typeUrl: typeUrls.address });
  const stalled = async (subject: string, count: number): Promise<void> => {
    const before = control.server.streams;
    const token = await issueToken(control.state, subject, 60);
    for (let i = 0; i < count; i++) stall(connect(closers, control), token, ask);
    await until(`${subject} is there`, 30_000, () => control.server.streams === before + count);
  };
  await stalled('n2', 4);
  await stalled('waypoint:shop/wp', 20);
  for (let i = 0; i < 9; i++) await stalled(`waypoint:t${i}/wp`, 2);
  await sleep(200);
  let addresses = 0;
  const seen = follow(closers, control, await issueToken(control.state, 'n1', 60), [
    subscribe(
      typeUrls.address,
      readAddress,
      () => addresses++,
      () => undefined,
    ),
  ]);
  await until('a new node gets all resources', 30_000, () => seen.synced);
  assert.ok(addresses > 3_000);
});

test('a node that waits for its turn does not disconnect', async () => {
  const control = await startControl(closers, manifests);
  const token = await issueToken(control.state, 'n1', 60);
  const states: string[] = [];
  const waits: { readonly ms: number; cancelled: boolean }[] = [];
  const clock = {
    now: () => 0,
    after: (ms: number) => {
      const wait = { ms, cancelled: false };
      waits.push(wait);
      return () => void (wait.cancelled = true);
    },
  };
  follow(closers, control, token, [], { clock, onState: (now) => states.push(now) });
  await until('it knows that the server is alive', 30_000, () => waits[0]?.cancelled === true);
  assert.deepEqual(states, []);
});

test('requests that wait for a response are limited', async () => {
  const control = await startControl(closers, manifests, { waitingNamesMax: 20_000 });
  const has = Object.fromEntries(Array.from({ length: 8_000 }, (_, i) => [`name-of-${i}`, '1']));
  const big = (typeUrl: string): DeltaDiscoveryRequest =>
    DeltaDiscoveryRequest.fromPartial({ typeUrl, initialResourceVersions: has });
  const token = await issueToken(control.state, 'waypoint:shop/wp', 60);
  // The first response removes all unknown names, and is not read.
  const odd = Array.from({ length: 8 }, (_, i) => `type.googleapis.com/x${i}`);
  const bearable = stall(
    connect(closers, control),
    token,
    ...[typeUrls.address, ...odd, typeUrls.route].map(big),
  );
  await sleep(500);
  assert.equal(bearable.ended(), undefined);
  assert.deepEqual(control.limits, [], 'nothing is kept for unknown types');
  stall(connect(closers, control), token, ...Object.values(typeUrls).map(big));
  await until('the limit is reached', 30_000, () => control.limits.includes('control-waiting-names'));
  await until('the stream beyond the limit is ended', 30_000, () => control.server.streams === 1);
});

test('connections per credential are limited, and other credentials are not blocked', async () => {
  const control = await startControl(closers, manifests, { connectionLimits: { perCallerMax: 3 } });
  const token = await issueToken(control.state, 'n2', 60);
  const calls = [1, 2, 3, 4, 5].map(() =>
    call(connect(closers, control), '/weft.v1.NodeReports/Report', token),
  );
  await until(
    'two are refused',
    30_000,
    () => calls.filter(({ ended }) => ended()?.status === '8').length === 2,
  );
  assert.equal(control.limits.filter((limit) => limit === 'control-caller-connections').length, 2);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  await issue(createCsr(id('a')).csrPem, id('a'), 60);
  // A connection that ends makes room.
  calls.find(({ ended }) => ended() === undefined)?.stream.session?.destroy();
  const again = async (): Promise<boolean> => {
    const { ended, stream } = call(connect(closers, control), '/weft.v1.NodeReports/Report', token);
    await sleep(100);
    stream.session?.destroy();
    return ended() === undefined;
  };
  await until('there is room', 30_000, again);
});

test('calls of one credential that send slowly do not delay other nodes, and are limited', async () => {
  const control = await startControl(closers, manifests);
  const slow = await issueToken(control.state, 'n2', 60);
  const sessions = [connect(closers, control), connect(closers, control)];
  const calls = sessions.flatMap((session) =>
    Array.from({ length: 40 }, () => call(session, certificatePath, slow)),
  );
  for (const { stream } of calls) stream.write(Buffer.alloc(3));
  await sleep(100);
  const issue = issuerOf(control, await issueToken(control.state, 'n1', 60));
  await issue(createCsr(id('a')).csrPem, id('a'), 60);
  // Each call ends at its deadline at the latest.
  await until('all ended', 30_000, () =>
    calls.every(({ ended }) => ended()?.status === '4' || ended()?.status === '14'),
  );
});
