/** Linkerd's kinds that `weft migrate` reads, with the fields of their published CRDs. The control plane never reads them. */
import { Ajv, type ValidateFunction } from 'ajv';

type Schema = Readonly<Record<string, unknown>>;
const text: Schema = { type: 'string' };
const texts: Schema = { type: 'array', items: text };
const number: Schema = { type: 'number' };
const whole: Schema = { type: 'integer' };
const flag: Schema = { type: 'boolean' };
const list = (items: Schema): Schema => ({ type: 'array', items });
const fields = (properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties,
});
const labels: Schema = { type: 'object', additionalProperties: text };
const selector = fields({
  matchLabels: labels,
  matchExpressions: list(fields({ key: text, operator: text, values: texts }, ['key', 'operator'])),
});
const reference = fields({ group: text, kind: text, name: text, namespace: text }, ['kind', 'name']);
const networks = list(fields({ cidr: text, except: texts }, ['cidr']));
/** A condition has conditions in it. */
const condition: Schema = { $ref: '#/$defs/condition' };
const $defs = {
  condition: fields({
    pathRegex: text,
    method: text,
    status: fields({ min: whole, max: whole }),
    all: list(condition),
    any: list(condition),
    not: condition,
  }),
};
const rate = fields({ requestsPerSecond: whole }, ['requestsPerSecond']);
const open: Schema = { type: 'object' };

/** Specs by kind and group. Fields that are not listed are refused, as the API server drops or refuses them. */
const specs: Readonly<Record<string, Schema>> = {
  'linkerd.io/ServiceProfile': fields({
    dstOverrides: list(fields({ authority: text, weight: { type: ['integer', 'string'] } }, ['authority'])),
    opaquePorts: texts,
    retryBudget: fields({ retryRatio: number, minRetriesPerSecond: whole, ttl: text }),
    routes: list(
      fields(
        {
          name: text,
          condition,
          isRetryable: flag,
          timeout: text,
          responseClasses: list(fields({ condition, isFailure: flag }, ['condition'])),
        },
        ['name', 'condition'],
      ),
    ),
  }),
  'policy.linkerd.io/Server': fields(
    {
      podSelector: selector,
      externalWorkloadSelector: selector,
      port: { type: ['integer', 'string'] },
      proxyProtocol: { enum: ['unknown', 'HTTP/1', 'HTTP/2', 'gRPC', 'opaque', 'TLS'] },
      accessPolicy: text,
    },
    ['port'],
  ),
  'policy.linkerd.io/ServerAuthorization': fields(
    {
      server: fields({ name: text, selector }),
      client: fields({
        networks,
        unauthenticated: flag,
        meshTLS: fields({
          unauthenticatedTLS: flag,
          identities: texts,
          serviceAccounts: list(fields({ name: text, namespace: text }, ['name'])),
        }),
      }),
    },
    ['server', 'client'],
  ),
  'policy.linkerd.io/AuthorizationPolicy': fields(
    { targetRef: reference, requiredAuthenticationRefs: list(reference) },
    ['targetRef', 'requiredAuthenticationRefs'],
  ),
  'policy.linkerd.io/MeshTLSAuthentication': fields({ identities: texts, identityRefs: list(reference) }),
  'policy.linkerd.io/NetworkAuthentication': fields({ networks }, ['networks']),
  'policy.linkerd.io/HTTPLocalRateLimitPolicy': fields(
    {
      targetRef: reference,
      total: rate,
      identity: rate,
      overrides: list(
        fields({ requestsPerSecond: whole, clientRefs: list(reference) }, [
          'requestsPerSecond',
          'clientRefs',
        ]),
      ),
    },
    ['targetRef'],
  ),
  'policy.linkerd.io/HTTPRoute': fields({
    parentRefs: list(open),
    hostnames: texts,
    rules: list(
      fields({
        name: text,
        matches: list(fields({ path: open, headers: list(open), queryParams: list(open), method: text })),
        filters: list(open),
        backendRefs: list(open),
        timeouts: fields({ request: text, backendRequest: text }),
      }),
    ),
  }),
  'policy.linkerd.io/EgressNetwork': fields({ networks, trafficPolicy: text }),
  'workload.linkerd.io/ExternalWorkload': fields({
    meshTLS: fields({ identity: text, serverName: text }),
    workloadIPs: list(fields({ ip: text })),
    ports: list(fields({ name: text, port: whole, protocol: text })),
  }),
};

let validators: ReadonlyMap<string, ValidateFunction> | undefined;
function compiled(): ReadonlyMap<string, ValidateFunction> {
  const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false });
  return new Map(Object.entries(specs).map(([name, schema]) => [name, ajv.compile({ ...schema, $defs })]));
}

/** Why a spec is not one of Linkerd's; undefined: `weft migrate` does not read the kind. @param name `GROUP/KIND` */
export function linkerdErrors(name: string, spec: unknown): readonly string[] | undefined {
  const validate = (validators ??= compiled()).get(name);
  if (!validate) return undefined;
  if (validate(spec)) return [];
  return (validate.errors ?? []).map(({ instancePath, message = 'is invalid', params }) => {
    const { additionalProperty } = params as { additionalProperty?: string };
    const field = `spec${instancePath.replace(/\/(\d+)/g, '[$1]').replaceAll('/', '.')}`;
    return `${field}: ${message}${additionalProperty === undefined ? '' : `: ${additionalProperty}`}`;
  });
}
