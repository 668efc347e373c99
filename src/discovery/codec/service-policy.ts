/**
 * Codec of a Service port's settings (weft.v1.ServicePolicy): the control plane encodes, waypoints decode. A policy with a part that
 * cannot be decoded closes its port: the part may be a limit or a check.
 */
import { errorText } from '../../base/errors.js';
import type { RouteFilter } from '../../model/route.js';
import { parseSecretName } from '../../model/client-certificate.js';
import type { ServicePolicy } from '../../model/service-policy.js';
import type { ServiceKey } from '../../model/workload.js';
import { servicePolicyShape } from '../gen/shapes.js';
import * as pb from '../gen/weft.js';
import { need, portNumber, type ReadResult } from './decoding.js';
import { unknownFields, unknownText } from './unknown-fields.js';

/** Fields that the generated encoder wants named. */
const absent = pb.ServicePolicy.fromPartial({});

const encodeFilters = (filters: readonly RouteFilter[]): pb.RouteFilter[] =>
  filters.map((filter) => ({ filter }));

export function encodeServicePolicy(policy: ServicePolicy): Uint8Array {
  const { filters = [], clients = [], healthChecks = [], closed = '', ...fields } = policy;
  return pb.ServicePolicy.encode({
    ...absent,
    ...fields,
    filters: encodeFilters(filters),
    clients: clients.map((client) => ({ ...client, filters: encodeFilters(client.filters) })),
    healthChecks,
    closed,
  }).finish();
}

/** A filter without a member that this version knows has an unknown field, which closes the port. */
const decodeFilters = (filters: readonly pb.RouteFilter[]): RouteFilter[] =>
  filters.flatMap(({ filter }) => (filter ? [filter] : []));

/** Without the fields that were not sent. */
const defined = <T extends object>(fields: T): T =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;

/**
 * Reads a policy. An unknown part closes the port, whose name the resource name states if it cannot be read elsewhere.
 * @param name the resource name, `<namespace>/<hostname>:<port>`
 */
export function readServicePolicy(name: string, bytes: Uint8Array): ReadResult<ServicePolicy> {
  try {
    const { service, port, origins, filters, clients, healthChecks, loadBalancing, closed, ...message } =
      pb.ServicePolicy.decode(bytes);
    const problems = unknownFields(bytes, servicePolicyShape).map(unknownText);
    const { clientCertificate } = message.endpointTls ?? {};
    // It becomes a part of a path.
    if (clientCertificate !== undefined && parseSecretName(clientCertificate) === undefined)
      problems.push('EndpointTls.client_certificate: not a name of a Secret');
    const refused = problems[0] ?? closed;
    const value: ServicePolicy = {
      ...defined(message),
      origins,
      ...(loadBalancing?.kind ? { loadBalancing } : {}),
      service: need(service, 'service') as ServiceKey,
      port: portNumber(port),
      ...(filters.length > 0 ? { filters: decodeFilters(filters) } : {}),
      ...(clients.length > 0
        ? { clients: clients.map((client) => ({ ...client, filters: decodeFilters(client.filters) })) }
        : {}),
      ...(healthChecks.length > 0 ? { healthChecks } : {}),
      ...(refused === '' ? {} : { closed: refused }),
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
