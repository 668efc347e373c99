/** Endpoints for tests of balancers. */
import { parseIp } from '../../src/model/address.js';
import { Endpoint, type EndpointConfig } from '../../src/waypoint/cluster/endpoint.js';
import { workload } from './mesh.js';

const endpointConfig = (name: string): EndpointConfig => ({
  workload: workload(name, '10.0.0.1', 'node-1'),
  target: { ip: parseIp('10.0.0.1'), port: 80 },
  protocol: 'unknown',
  via: undefined,
});

/** Endpoints `pod-0`, `pod-1` and so on. */
export const endpointsOf = (count: number): Endpoint[] =>
  Array.from({ length: count }, (_, i) => new Endpoint(endpointConfig(`pod-${i}`)));
