/** What a carrier holds, as it tells a new agent. */
import { connectChannel } from '../../native/index.js';
import type { State } from '../../daemonset/carrier/gen/carrier.js';
import { decodePacket, encodeMessage, protocolVersion } from '../../daemonset/carrier/protocol.js';
import { WeftError } from '../../src/base/errors.js';

const timeoutMs = 30_000;

/** Takes the place of the carrier's agent for a moment. */
export function carrierState(socket: string): Promise<State> {
  const all: State = { pods: [], rules: [], flows: [], isLast: true };
  return new Promise((resolve, reject) => {
    const channel = connectChannel(socket);
    const end = (action: () => void): void => {
      clearTimeout(timer);
      channel.close();
      action();
    };
    const fail = (why: string): void => end(() => reject(new WeftError('WEFT_CARRIER_MESSAGE', why)));
    const timer = setTimeout(() => fail(`${socket} sends no state`), timeoutMs);
    channel.keepAlive(true);
    channel.onClosed = fail;
    channel.onPacket = (bytes) => {
      for (const { $case, value } of decodePacket(bytes).messages) {
        if ($case !== 'state') continue;
        for (const kind of ['pods', 'rules', 'flows'] as const) (all[kind] as unknown[]).push(...value[kind]);
        if (value.isLast) return end(() => resolve(all));
      }
    };
    channel.send(encodeMessage({ $case: 'hello', value: { version: protocolVersion, build: 'test' } }), []);
  });
}
