/** Edges for tests. */
import { noCounts, type Edge, type EdgeCounts, type EdgeParty } from '../../src/model/edge.js';
import { identity } from './mesh.js';

export const party = (namespace: string, name: string, more: Partial<EdgeParty> = {}): EdgeParty => ({
  namespace,
  workload: name,
  pod: name,
  identity: name === '' ? undefined : identity(namespace, name),
  ...more,
});

/** A connection from shop/web to shop/api, seen by the client's agent. */
export const edge = (more: Partial<Omit<Edge, 'counts'>> = {}, counts: Partial<EdgeCounts> = {}): Edge => ({
  reporter: 'source',
  source: party('shop', 'web'),
  destination: party('shop', 'api'),
  service: 'api.shop.svc.cluster.local',
  port: 8080,
  path: 'hbone',
  method: '',
  pathTemplate: '',
  policy: '',
  ...more,
  counts: { ...noCounts, connections: 1, ...counts },
});
