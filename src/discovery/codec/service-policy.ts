/**
 * Codec of a Service port's settings (weft.v1.ServicePolicy): the control plane encodes, waypoints decode. A policy with a part that
 * cannot be decoded closes its port: the part may be a limit or a check.
 */
import { errorText } from '../../base/errors.js';
import type { LoadBalancing, ServicePolicy } from '../../model/service-policy.js';
import type { ServiceKey } from '../../model/workload.js';
import { servicePolicyShape } from '../gen/shapes.js';
import * as pb from '../gen/weft.js';
import { need, portNumber, type ReadResult } from './decoding.js';
import { unknownFields, unknownText } from './unknown-fields.js';

type Member = NonNullable<pb.LoadBalancing['kind']>;
const members: Readonly<Record<LoadBalancing, Member>> = {
  'round-robin': { $case: 'roundRobin', value: {} },
  'least-request': { $case: 'leastRequest', value: {} },
  random: { $case: 'random', value: {} },
};
const kindOf = (member: Member): LoadBalancing | undefined =>
  (Object.keys(members) as LoadBalancing[]).find((kind) => members[kind].$case === member.$case);

export const encodeServicePolicy = ({ loadBalancing, ...policy }: ServicePolicy): Uint8Array =>
  pb.ServicePolicy.encode({
    ...policy,
    loadBalancing: loadBalancing && { kind: members[loadBalancing] },
  }).finish();

/**
 * Reads a policy. An unknown part closes the port, whose name the resource name states if it cannot be read elsewhere.
 * @param name the resource name, `<namespace>/<hostname>:<port>`
 */
export function readServicePolicy(name: string, bytes: Uint8Array): ReadResult<ServicePolicy> {
  try {
    const { service, port, loadBalancing, ...message } = pb.ServicePolicy.decode(bytes);
    const problems = unknownFields(bytes, servicePolicyShape).map(unknownText);
    const balancing = loadBalancing?.kind && kindOf(loadBalancing.kind);
    const value: ServicePolicy = {
      ...message,
      service: need(service, 'service') as ServiceKey,
      port: portNumber(port),
      ...(balancing ? { loadBalancing: balancing } : {}),
      ...(problems[0] === undefined ? {} : { closed: problems[0] }),
    };
    return { value, problems };
  } catch (error) {
    const text = errorText(error);
    const colon = name.lastIndexOf(':');
    const port = Number(name.slice(colon + 1));
    if (colon < 1 || !(port >= 1 && port <= 65535)) return { value: undefined, problems: [text] };
    const service = name.slice(0, colon) as ServiceKey;
    return { value: { service, port, origins: [], closed: text }, problems: [text] };
  }
}
