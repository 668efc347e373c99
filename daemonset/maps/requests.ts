/** weft_requests: HTTP/1.1 exchanges that the programs saw on kernel flows, added up. The programs write; the agent takes them out. */
import type { ObservedRequests } from '../../src/telemetry/observed-requests.js';
import type { NodeMaps } from './node-maps.js';
import { methods, RequestKey, RequestsRow } from './rows.generated.js';

/** Entries taken at once: as many as the map has. */
const requestsPerTurnMax = 16_384;

/** Requests between two pods to one port, by method, path template and status. */
export interface KernelRequests {
  readonly between: RequestKey;
  readonly requests: ObservedRequests;
}

/** The template as the programs wrote it; `/other` stands for paths beyond a pod's share, which are not told apart. */
function templateOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString('latin1');
  return text === '' ? '/other' : text;
}

/** Pure. */
export function decodeRequests(key: Uint8Array, value: Uint8Array): KernelRequests {
  const between = new RequestKey(key);
  const { count, sum, latency } = new RequestsRow(value);
  return {
    between,
    requests: {
      method: (methods[between.method] ?? 'other').toUpperCase(),
      pathTemplate: templateOf(between.template),
      status: between.status,
      count: Number(count),
      latencyCounts: latency,
      durationSumMs: Number(sum) / 1e6,
    },
  };
}

/**
 * Takes out what was counted since the last call. A program that has found an entry in the moment in which it is taken out counts in vain:
 * less than one request of each entry and turn.
 */
export function takeRequests(maps: NodeMaps): KernelRequests[] {
  const map = maps.get('weft_requests');
  const before = maps.node.requests();
  const taken = map.keys(requestsPerTurnMax).flatMap((key) => {
    const value = map.take(key);
    return value ? [decodeRequests(key, value)] : [];
  });
  maps.node.setRequestsTaken(before);
  return taken;
}
