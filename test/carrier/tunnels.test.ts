/**
 * Peers that write their own frames, at either end of a tunnel: what they do to one tunnel reaches its application and no other one.
 * Only node-a has an agent; the test serves port 15008 of `api` on node-b.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';
import { DemoMesh, listening } from '../support/demo-mesh.js';
import { echo } from '../support/echo.js';
import { frame, frameType, rst } from '../support/http2-frames.js';
import { goAway, setting, windowUpdate } from '../support/http2-raw.js';
import { connectionRecords } from '../support/records.js';
import {
  accept,
  openTunnel,
  requestsOf,
  serveTunnels,
  svidOfTestbed,
  type RawTunnel,
} from './support/raw-tunnel.js';
import { checkRelay, relays, useRelay } from './support/relays.js';
import { TunnelClient } from './support/tunnel-client.js';

const api = '10.244.2.10';
const web = '10.244.1.10';

for (const relay of relays)
  describe(relay, () => {
    const mesh = new DemoMesh(`tunnels-${relay}`);
    let testbed: Testbed;
    const tunnels: RawTunnel[] = [];
    let peer: { close(): void } | undefined;
    const records = (): ReturnType<typeof connectionRecords> => connectionRecords(testbed.runDir('node-a'));
    const serve = (): void => {
      tunnels.length = 0;
      peer = serveTunnels('weft-api', svidOfTestbed(testbed, 'api'), (tunnel) => tunnels.push(tunnel));
    };
    /** A client whose CONNECT request has arrived on the newest connection. */
    const connected = async (
      client = new TunnelClient(api),
    ): Promise<{ client: TunnelClient; tunnel: RawTunnel; stream: number }> => {
      const seen = new Map(tunnels.map((one) => [one, requestsOf(one).length]));
      assert.equal(await client.do('connect'), 'connected');
      const tunnel = await until('a CONNECT request', 30_000, () =>
        tunnels.find((one) => requestsOf(one).length > (seen.get(one) ?? 0)),
      );
      return { client, tunnel, stream: requestsOf(tunnel).at(-1) ?? 0 };
    };

    before(async () => {
      useRelay(relay);
      await mesh.prepare();
      testbed = mesh.create();
      testbed.start('echo', 'weft-web', 'python3', ['-c', echo, '9000']);
      testbed.start('echo-intruder', 'weft-intruder', 'python3', ['-c', echo, '9000']);
      await testbed.up(['node-a']);
      await checkRelay('weft-node-a', relay);
      await listening('weft-web', 9000);
      await listening('weft-intruder', 9000);
      serve();
    });
    after(async () => {
      peer?.close();
      TunnelClient.end();
      await mesh.remove();
    });

    test(`${relay}: bytes, half closes and resets of a peer's stream reach the application, and the other way round`, async () => {
      const first = await connected();
      first.tunnel.send(accept(first.stream));
      first.tunnel.write(first.stream, 'x'.repeat(100));
      assert.equal(await first.client.do('read', 100), 'read 100');
      assert.equal(await first.client.do('write', 5_000), 'written');
      await until('the bytes', 30_000, () => first.tunnel.received(first.stream).length === 5_000);
      first.tunnel.write(first.stream, 'yz', true);
      assert.equal(await first.client.do('read', 2), 'read 2');
      assert.equal(await first.client.do('end'), 'end');
      assert.equal(await first.client.do('write', 7), 'written');
      assert.equal(await first.client.do('shut'), 'shut');
      await until('the end', 30_000, () => first.tunnel.ended(first.stream));
      assert.equal(first.tunnel.received(first.stream).length, 5_007);

      const second = await connected();
      assert.equal(second.tunnel, first.tunnel, 'one connection for both');
      second.tunnel.send(accept(second.stream));
      second.tunnel.write(second.stream, 'abc');
      second.tunnel.send(rst(second.stream, 8));
      assert.equal(await second.client.do('read', 3), 'read 3');
      assert.equal(await second.client.do('end'), 'ConnectionResetError');

      const third = await connected();
      third.tunnel.send(accept(third.stream));
      third.tunnel.write(third.stream, 'abc');
      assert.equal(await third.client.do('read', 3), 'read 3');
      assert.equal(await third.client.do('reset'), 'gone');
      await until('the reset', 30_000, () => third.tunnel.has(frameType.rst, third.stream));

      const ends = await until('the records', 30_000, () => {
        const all = records().filter(({ direction }) => direction === 'outbound');
        return (
          all.length >= 3 &&
          all.map(({ ended, bytesSent, bytesReceived }) => `${ended} ${bytesSent} ${bytesReceived}`)
        );
      });
      assert.deepEqual(ends, ['finished 5007 102', 'peer-reset 0 3', 'pod-reset 0 3']);
    });

    test(`${relay}: a peer whose window is closed holds back its own sender alone, and no byte is lost`, async () => {
      const slow = await connected();
      slow.tunnel.send(setting(4, 1_000), accept(slow.stream));
      const fast = await connected();
      assert.equal(fast.tunnel, slow.tunnel);
      fast.tunnel.send(accept(fast.stream), windowUpdate(0, 1 << 24), windowUpdate(fast.stream, 1 << 20));
      // What its sockets buffer holds more than that.
      assert.equal(await slow.client.do('write', 50_000), 'written');
      assert.equal(await fast.client.do('write', 200_000), 'written');
      await until(
        'the bytes of the other',
        30_000,
        () => fast.tunnel.received(fast.stream).length === 200_000,
      );
      await sleep(100);
      const held = slow.tunnel.received(slow.stream).length;
      assert.ok(held <= 65_535, `${held} bytes within the window`);
      slow.tunnel.send(windowUpdate(slow.stream, 1 << 20));
      await until('the rest', 30_000, () => slow.tunnel.received(slow.stream).length === 50_000);
      for (const { client } of [slow, fast]) await client.do('reset');
    });

    test(`${relay}: after GOAWAY the open tunnels continue, and new ones use another connection`, async () => {
      const old = await connected();
      old.tunnel.send(accept(old.stream), goAway(old.stream));
      await sleep(200);
      const young = await connected();
      assert.notEqual(young.tunnel, old.tunnel);
      young.tunnel.send(accept(young.stream));
      for (const { client, tunnel, stream } of [old, young]) {
        tunnel.write(stream, 'still');
        assert.equal(await client.do('read', 5), 'read 5');
        await client.do('reset');
      }
      old.tunnel.close();
    });

    test(`${relay}: a request that GOAWAY leaves unprocessed is made again on another connection`, async () => {
      const first = await connected();
      first.tunnel.send(goAway(0));
      const again = await until('the request on another connection', 30_000, () =>
        tunnels.find((one) => one !== first.tunnel && !one.isClosed && requestsOf(one).length > 0),
      );
      const stream = requestsOf(again).at(-1) ?? 0;
      again.send(accept(stream));
      again.write(stream, 'late');
      assert.equal(await first.client.do('read', 4), 'read 4');
      await first.client.do('reset');
    });

    test(`${relay}: a peer that refuses, resets or ends before its response: the client is reset, and the record says why`, async () => {
      const before = records().length;
      const refused = await connected();
      // `:status 401`, Huffman-coded, with the name of static index 8.
      refused.tunnel.send(
        frame(frameType.headers, 5, refused.stream, Buffer.from([0x08, 0x03, 0x34, 0x30, 0x31])),
      );
      assert.equal(await refused.client.do('end'), 'ConnectionResetError');
      const reset = await connected();
      reset.tunnel.send(rst(reset.stream, 2));
      assert.equal(await reset.client.do('end'), 'ConnectionResetError');
      const ended = await connected();
      // The request may have come late for a connection that was in use, so it is made again; the end of a new connection is final.
      ended.tunnel.close();
      const last = await until('the request on a new connection', 30_000, () =>
        tunnels.find((one) => one !== ended.tunnel && !one.isClosed && requestsOf(one).length > 0),
      );
      last.close();
      assert.equal(await ended.client.do('end'), 'ConnectionResetError');
      const codes = await until('the records', 30_000, () => {
        // The record of a connection of an earlier test may be late.
        const all = records()
          .slice(before)
          .filter(({ path }) => path === 'refused');
        return all.length >= 3 && all.map(({ path, code }) => `${path} ${code}`);
      });
      assert.deepEqual(codes, [
        'refused WEFT_TUNNEL_REFUSED',
        'refused WEFT_TUNNEL_RESET',
        'refused WEFT_TUNNEL_RESET',
      ]);
    });

    test(`${relay}: a peer with another identity gets no byte`, async () => {
      peer?.close();
      // A destination that could not be reached is refused at connect() for a moment.
      await sleep(600);
      tunnels.length = 0;
      peer = serveTunnels('weft-api', svidOfTestbed(testbed, 'intruder'), (tunnel) => tunnels.push(tunnel));
      const client = new TunnelClient(api);
      // The reset may come while connect() still waits for its result.
      const said = await client.do('connect');
      assert.equal(said === 'connected' ? await client.do('end') : said, 'ConnectionResetError');
      const record = await until('the record', 30_000, () =>
        records().find(({ code }) => code === 'WEFT_TUNNEL_IDENTITY'),
      );
      assert.equal(record.path, 'refused');
      assert.deepEqual(tunnels.flatMap(requestsOf), []);
      peer.close();
      await sleep(600);
      serve();
    });

    test(`${relay}: requests of a peer: bytes, a half close and a reset arrive, and what is no tunnel is refused`, async () => {
      const tunnel = await openTunnel('weft-api', web, svidOfTestbed(testbed, 'api'));
      tunnel.connect(1, `${web}:9000`);
      assert.equal(await tunnel.status(1), 200);
      tunnel.write(1, 'e'.repeat(10_000), true);
      await until('the end of the echo', 30_000, () => tunnel.ended(1));
      assert.equal(tunnel.received(1).length, 10_000);
      // Another destination, no CONNECT, a port of the agent, a closed port.
      tunnel.connect(3, '10.244.1.12:9000');
      tunnel.connect(5, 'web:9000');
      tunnel.connect(7, `${web}:15008`);
      tunnel.connect(9, `${web}:1`);
      assert.deepEqual(
        await Promise.all([3, 5, 7, 9].map((stream) => tunnel.status(stream))),
        [400, 400, 503, 503],
      );
      tunnel.connect(11, `${web}:9000`);
      assert.equal(await tunnel.status(11), 200);
      tunnel.write(11, 'more');
      await until('the echo', 30_000, () => tunnel.received(11).length === 4);
      tunnel.send(rst(11, 8));
      const ends = await until('the records', 30_000, () => {
        const all = records().filter(({ path }) => path === 'inbound-hbone');
        return all.length >= 2 && all.map(({ ended, source }) => `${ended} ${source.identity}`);
      });
      const of = 'spiffe://cluster.local/ns/shop/sa/api';
      assert.deepEqual(ends, [`finished ${of}`, `peer-reset ${of}`]);
      assert.equal(tunnel.isClosed, false);
      tunnel.close();
    });

    test(`${relay}: a tunnel whose peer does not read holds back its own application alone`, async () => {
      const tunnel = await openTunnel('weft-api', web, svidOfTestbed(testbed, 'api'));
      tunnel.connect(1, `${web}:9000`);
      tunnel.connect(3, `${web}:9000`);
      assert.deepEqual([await tunnel.status(1), await tunnel.status(3)], [200, 200]);
      // 65535 bytes come back on each, and then the windows of stream 1 stay closed.
      tunnel.send(windowUpdate(0, 1 << 20));
      const mine = Buffer.alloc(100_000, 'm');
      for (const stream of [1, 3])
        for (let at = 0; at < mine.length; at += 10_000) tunnel.write(stream, mine.subarray(at, at + 10_000));
      await until('a window of each', 30_000, () =>
        [1, 3].every((stream) => tunnel.received(stream).length === 65_535),
      );
      tunnel.send(windowUpdate(3, 1 << 20));
      await until('the rest of the other', 30_000, () => tunnel.received(3).length === mine.length);
      assert.equal(tunnel.received(1).length, 65_535);
      tunnel.send(windowUpdate(1, 1 << 20));
      await until('the rest', 30_000, () => tunnel.received(1).length === mine.length);
      tunnel.send(frame(frameType.data, 1, 1), frame(frameType.data, 1, 3));
      await until('both ends', 30_000, () => tunnel.ended(1) && tunnel.ended(3));
      tunnel.close();
    });
  });
