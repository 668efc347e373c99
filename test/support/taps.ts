/** Events of taps for tests. */
import type { TapEvent, TapParty } from '../../src/model/mesh-snapshot.js';
import { identity } from './mesh.js';

export const tapParty = (namespace: string, name: string): TapParty => ({
  namespace,
  workload: name,
  pod: name,
  ...(name === '' ? {} : { identity: identity(namespace, name) }),
});

/** A connection from shop/web to shop/api that has ended, seen by the client's agent. */
export const tapConnection = (more: Partial<TapEvent> = {}): TapEvent => ({
  kind: 'connection',
  seenBy: 'source',
  timeMs: 1_700_000_000_000,
  id: '10.0.0.1:4711',
  reporter: 'n1',
  source: tapParty('shop', 'web'),
  destination: { ...tapParty('shop', 'api'), service: 'api.shop.svc.cluster.local', port: 8080 },
  path: 'hbone',
  outcome: 'allowed',
  durationMs: 12.5,
  bytesSent: 10,
  bytesReceived: 20,
  policy: 'shop/allow-web',
  why: 'remote-node',
  ...more,
});

/** A request at a waypoint. */
export const tapRequest = (more: Partial<TapEvent> = {}): TapEvent => {
  const { durationMs: _durationMs, ...rest } = tapConnection();
  return {
    ...rest,
    kind: 'request',
    seenBy: 'waypoint',
    reporter: 'shop/wp',
    path: 'waypoint',
    request: { method: 'GET', path: '/orders/7', status: 200, durationMs: 3.5 },
    ...more,
  };
};
