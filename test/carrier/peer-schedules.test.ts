/**
 * Random schedules of a peer that writes its own frames at the other end of a tunnel: half closes, resets before and after them, GOAWAYs with
 * a last stream, empty, padded and small DATA, trailers, closed windows, and responses that end while the upload goes on. The application sees
 * what the schedule says, and both relays do the same. Only node-a has an agent.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { sleep, until } from '../../src/base/wait.js';
import { DemoMesh } from '../support/demo-mesh.js';
import { block, endHeaders, frame, frameType, rst } from '../support/http2-frames.js';
import { goAway, windowUpdate } from '../support/http2-raw.js';
import { randomOf } from '../support/random.js';
import { connectionRecords } from '../support/records.js';
import { accept, requestsOf, serveTunnels, svidOfTestbed, type RawTunnel } from './support/raw-tunnel.js';
import { checkRelay, relays, useRelay, type RelayName } from './support/relays.js';
import { TunnelClient } from './support/tunnel-client.js';

const api = '10.244.2.10';
/** Failures print it. CARRIER_SEED repeats a run. */
const seed = Number(process.env['CARRIER_SEED'] ?? Date.now() % 1_000_000);
const count = Number(process.env['CARRIER_SCHEDULES'] ?? '24');
const wide = 1 << 24;
const windowBytes = 65_535;
const endStream = 1;
const padded = 8;

const endings = [
  'fin',
  'fin',
  'peer-reset',
  'client-reset',
  'peer-reset-half-closed',
  'client-reset-half-closed',
  'early-response',
] as const;
interface Schedule {
  readonly ending: (typeof endings)[number];
  readonly first: 'client' | 'peer';
  readonly steps: readonly string[];
  /** The peer does not process the first request. */
  readonly isMadeAgain: boolean;
  readonly resetCode: number;
  readonly withTrailers: boolean;
}
function scheduleOf(n: number): Schedule {
  const random = randomOf(seed + n);
  const step = (): string => {
    const bytes = [1, 900, 16_384, 60_000][random(4)] as number;
    return (
      ['client', 'client', 'peer', 'peer', 'peer', 'empty', 'padded', 'goaway', 'stall'][random(9)] +
      ` ${bytes}`
    );
  };
  return {
    // Each ending comes in each run.
    ending: endings[n % endings.length] ?? 'fin',
    first: random(2) === 0 ? 'client' : 'peer',
    steps: Array.from({ length: random(7) }, step),
    isMadeAgain: random(4) === 0,
    resetCode: [0, 2, 5, 7, 8, 11][random(6)] as number,
    withTrailers: random(3) === 0,
  };
}
const schedules = Array.from({ length: count }, (_, n) => scheduleOf(n));

/** What the ends and the record of each schedule were, by relay. */
const outcomes = new Map<RelayName, readonly string[]>();

for (const relay of relays)
  describe(relay, () => {
    const mesh = new DemoMesh(`peer-schedules-${relay}`);
    let peer: { close(): void } | undefined;
    after(async () => {
      peer?.close();
      TunnelClient.end();
      await mesh.remove();
    });

    test(`${relay}: an application sees what the peer of its tunnel does`, async () => {
      useRelay(relay);
      await mesh.prepare();
      const testbed = mesh.create();
      await testbed.up(['node-a']);
      await checkRelay('weft-node-a', relay);
      const tunnels: RawTunnel[] = [];
      peer = serveTunnels('weft-api', svidOfTestbed(testbed, 'api'), (tunnel) => tunnels.push(tunnel));
      const seen = new Map<RawTunnel, number>();
      /** The newest CONNECT request that was not seen yet. */
      const nextRequest = async (): Promise<{ tunnel: RawTunnel; stream: number }> => {
        const tunnel = await until('a CONNECT request', 30_000, () =>
          tunnels.find((one) => requestsOf(one).length > (seen.get(one) ?? 0)),
        );
        const streams = requestsOf(tunnel);
        seen.set(tunnel, streams.length);
        return { tunnel, stream: streams.at(-1) ?? 0 };
      };

      const play = async (schedule: Schedule): Promise<string> => {
        const client = new TunnelClient(api);
        assert.equal(await client.do('connect'), 'connected');
        let { tunnel, stream } = await nextRequest();
        // On a connection that was used before; on a new one the refusal is final.
        if (schedule.isMadeAgain && stream > 1) {
          tunnel.send(goAway(stream - 2 > 0 ? stream - 2 : 0));
          const again = await nextRequest();
          assert.notEqual(again.tunnel, tunnel, 'on another connection');
          ({ tunnel, stream } = again);
        }
        tunnel.send(accept(stream), windowUpdate(0, wide));
        let granted = windowBytes;
        const grant = (bytes: number): void => {
          granted += bytes;
          tunnel.send(windowUpdate(stream, bytes));
        };
        let [up, down] = [0, 0];
        const arrived = (what: string): Promise<true> =>
          until(what, 30_000, () => tunnel.received(stream).length === up);
        for (const [kind = '', text] of schedule.steps.map((one) => one.split(' '))) {
          const bytes = Number(text);
          if (kind === 'client') {
            up += bytes;
            if (up > granted) grant(1 << 20);
            assert.equal(await client.do('write', bytes), 'written');
            await arrived('the bytes of the client');
          } else if (kind === 'stall') {
            // The window is used up, and nothing more arrives until it is opened.
            const bytesOver = 20_000;
            const left = granted - up;
            if (left > 2 * windowBytes) continue;
            up += left + bytesOver;
            assert.equal(await client.do('write', left + bytesOver), 'written');
            await until('a full window', 30_000, () => tunnel.received(stream).length === granted);
            await sleep(30);
            assert.equal(tunnel.received(stream).length, granted, 'a peer with a closed window gets no more');
            grant(1 << 20);
            await arrived('the rest');
          } else if (kind === 'goaway') tunnel.send(goAway(stream));
          else if (kind === 'empty') tunnel.send(frame(frameType.data, 0, stream, Buffer.alloc(0)));
          else {
            const isPadded = kind === 'padded';
            for (let left = bytes; left > 0; left -= 16_000) {
              const part = Buffer.alloc(Math.min(left, 16_000), 'p');
              if (isPadded)
                tunnel.send(
                  frame(
                    frameType.data,
                    padded,
                    stream,
                    Buffer.concat([Buffer.from([9]), part, Buffer.alloc(9)]),
                  ),
                );
              else tunnel.write(stream, part);
            }
            down += bytes;
            assert.equal(await client.do('read', bytes), `read ${bytes}`);
          }
        }
        const endOfPeer = (): void =>
          tunnel.send(
            schedule.withTrailers
              ? frame(frameType.headers, endHeaders | endStream, stream, block(['x-end', '1']))
              : frame(frameType.data, endStream, stream, Buffer.alloc(0)),
          );
        const shut = async (side: 'client' | 'peer'): Promise<void> => {
          if (side === 'peer') {
            endOfPeer();
            assert.equal(await client.do('end'), 'end');
          } else {
            assert.equal(await client.do('shut'), 'shut');
            await until('the end of the stream', 30_000, () => tunnel.ended(stream));
          }
        };
        const { ending, first } = schedule;
        if (ending === 'fin') {
          await shut(first);
          await shut(first === 'client' ? 'peer' : 'client');
        } else if (ending === 'early-response') {
          assert.equal(await client.do('upload', 3_000_000), 'begun');
          await until('part of the upload', 30_000, () => tunnel.received(stream).length > up);
          tunnel.write(stream, Buffer.alloc(10_000, 'p'));
          endOfPeer();
          await sleep(20);
          tunnel.send(rst(stream, schedule.resetCode));
          assert.equal(await client.do('read', 10_000), 'read 10000', 'the response is delivered');
          assert.match(await client.do('end'), /^(end|ConnectionResetError)$/);
          await client.do('reset');
        } else {
          const isHalfClosed = ending.endsWith('half-closed');
          if (ending.startsWith('peer')) {
            if (isHalfClosed) await shut('client');
            tunnel.send(rst(stream, schedule.resetCode));
            assert.equal(await client.do('end'), 'ConnectionResetError');
            await client.do('reset');
          } else {
            if (isHalfClosed) await shut('peer');
            assert.equal(await client.do('reset'), 'gone');
            await until('the reset', 30_000, () => tunnel.has(frameType.rst, stream));
          }
        }
        return ending === 'early-response' ? `${up}+ ${down + 10_000}` : `${up} ${down}`;
      };

      const lines: string[] = [];
      for (const [n, schedule] of schedules.entries()) {
        const say = `seed ${seed}, schedule ${n}: ${JSON.stringify(schedule)}`;
        const before = connectionRecords(testbed.runDir('node-a')).length;
        try {
          const bytes = await play(schedule);
          const record = await until('its record', 30_000, () =>
            connectionRecords(testbed.runDir('node-a'))
              .slice(before)
              .find(({ direction }) => direction === 'outbound'),
          );
          const { path, code = '-', ended, bytesSent, bytesReceived } = record;
          // How much of the upload went, and which end came first, is a race.
          const isRace = schedule.ending === 'early-response';
          if (!isRace) assert.equal(`${bytesSent} ${bytesReceived}`, bytes);
          lines.push(`${n} ${schedule.ending}: ${path} ${code} ${isRace ? bytes : `${ended} ${bytes}`}`);
        } catch (error) {
          throw new Error(`${say}: ${String(error)}`, { cause: error });
        }
      }
      outcomes.set(relay, lines);
    });
  });

test('all relays do the same', () => {
  const [first, ...others] = relays;
  for (const other of others)
    assert.deepEqual(outcomes.get(other), outcomes.get(first ?? other), `seed ${seed}`);
});
