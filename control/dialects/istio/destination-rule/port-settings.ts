/**
 * The settings of a DestinationRule for a port, or for a subset at a port. A port's own settings take the place of all others, and those of
 * a subset are merged with the rule's, by part, as Istio documents. What may restrict connections and cannot be carried out closes the port:
 * nothing becomes plaintext or unlimited. Pure.
 */
import { errorText } from '../../../../src/base/errors.js';
import type { EndpointTls } from '../../../../src/discovery/gen/weft.js';
import type { TrafficSettings } from '../../../compile/traffic-policy.js';
import type {
  IstioClientTls,
  IstioPortPolicy,
  IstioTrafficPolicy,
} from '../../../objects/istio-destination-rule.js';
import { supportOf } from '../../fields.js';
import { mutualCredential } from './credentials.js';
import { destinationRuleFields } from './fields.js';
import {
  connectionPool,
  loadBalancer,
  locality,
  outlierDetection,
  present,
  retryBudget,
  type OwnPreference,
} from './sections.js';
import { isRecord } from '../../../../src/base/record.js';

/** A part of a policy with its place in the spec, for messages. */
interface Part<T> {
  readonly spec: T;
  readonly at: string;
}
type PartName = keyof IstioPortPolicy | 'retryBudget' | 'proxyProtocol' | 'tunnel';
type Parts = { readonly [K in PartName]?: Part<NonNullable<IstioTrafficPolicy[K]>> };

const portParts = ['connectionPool', 'loadBalancer', 'outlierDetection', 'tls'] as const;
const wholeParts = ['retryBudget', 'proxyProtocol', 'tunnel'] as const;

function pick(policy: object, at: string, names: readonly PartName[]): Parts {
  const given = policy as Readonly<Record<string, unknown>>;
  const found = names.flatMap((name) =>
    given[name] === undefined || given[name] === null
      ? []
      : [[name, { spec: given[name], at: `${at}.${name}` }] as const],
  );
  return Object.fromEntries(found);
}

/** The parts of one policy for a port, over those of a less specific policy. */
function partsOf(policy: IstioTrafficPolicy | undefined, at: string, port: number, below: Parts): Parts {
  if (!isRecord(policy)) return below;
  const whole = { ...below, ...pick(policy, at, [...portParts, ...wholeParts]) };
  const { portLevelSettings } = policy as IstioTrafficPolicy;
  const ports = Array.isArray(portLevelSettings) ? (portLevelSettings as readonly unknown[]) : [];
  const index = ports.findIndex(
    (one) => isRecord(one) && isRecord(one['port']) && one['port']['number'] === port,
  );
  if (index < 0) return whole;
  const { connectionPool: _c, loadBalancer: _l, outlierDetection: _o, tls: _t, ...others } = whole;
  return { ...others, ...pick(ports[index] as object, `${at}.portLevelSettings[${index}]`, portParts) };
}

/** The fields of a policy that the table does not know. */
function* unknownFields(value: unknown, path: string, entry: string): Generator<string> {
  if (Array.isArray(value))
    for (const [i, one] of value.entries()) yield* unknownFields(one, `${path}[${i}]`, `${entry}[]`);
  else if (isRecord(value) && Object.keys(value).length > 0)
    for (const [name, one] of Object.entries(value))
      yield* unknownFields(one, `${path}.${name}`, `${entry}.${name}`);
  else if (!isKnownPath(entry)) yield path;
}
const paths = Object.keys(destinationRuleFields);
const isKnownPath = (entry: string): boolean =>
  supportOf(destinationRuleFields, entry) !== undefined || paths.some((path) => path.startsWith(`${entry}.`));

/** What a translation needs of the Service. */
export interface PolicyTarget {
  /** The complete host name: the name that endpoints' certificates have if the rule states none. */
  readonly host: string;
  readonly preference: OwnPreference;
}

/** The field can be read, and Weft does not carry it out. */
class Unsupported extends Error {}

const tlsRefused = ['caCertCredentialName', 'caCrl'] as const;
/** What only MUTUAL has. */
const simpleRefused = [...tlsRefused, 'clientCertificate', 'privateKey', 'credentialName'] as const;

/** The Secret of mode MUTUAL. Error: why there is none. */
function credentialOf(tls: IstioClientTls, at: string): string {
  try {
    return mutualCredential(tls, at);
  } catch (error) {
    throw new Unsupported(errorText(error));
  }
}

/** TLS of the endpoints themselves; undefined: the mesh's own alone. Error: it cannot be carried out. */
function endpointTls({ spec, at }: Part<IstioClientTls>, host: string): EndpointTls | undefined {
  if (!isRecord(spec)) throw new Error(`${at}: expected an object`);
  const { mode = 'DISABLE', sni, subjectAltNames = [], caCertificates = '' } = spec as IstioClientTls;
  if (mode === 'DISABLE' || mode === 'ISTIO_MUTUAL') return undefined;
  if (mode !== 'SIMPLE' && mode !== 'MUTUAL')
    throw new Error(`${at}.mode: expected DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL`);
  const clientCertificate = mode === 'MUTUAL' ? credentialOf(spec as IstioClientTls, at) : undefined;
  const refused = (mode === 'MUTUAL' ? tlsRefused : simpleRefused).find(
    (name) => spec[name] !== undefined && spec[name] !== '',
  );
  if (refused !== undefined)
    throw new Unsupported(`${at}.${refused}: Weft reads no files of proxies and no Secrets`);
  if (spec['insecureSkipVerify'] === true)
    throw new Unsupported(`${at}.insecureSkipVerify: certificates are always verified`);
  if (caCertificates !== '' && caCertificates !== 'system')
    throw new Unsupported(`${at}.caCertificates: Weft reads no files of proxies; use a BackendTLSPolicy`);
  if (!Array.isArray(subjectAltNames) || subjectAltNames.some((name) => typeof name !== 'string'))
    throw new Error(`${at}.subjectAltNames: expected names`);
  const names = subjectAltNames as readonly string[];
  const hostname = sni === undefined || sni === '' ? host : String(sni);
  if (hostname.includes('*'))
    throw new Unsupported(`${at}.sni: it has to name the server: the host ${hostname} stands for many`);
  return {
    hostname,
    caCertificates: '',
    dnsNames: names.filter((name) => !name.includes('://')).map((name) => name.toLowerCase()),
    uris: names.filter((name) => name.includes('://')),
    ...(clientCertificate === undefined ? {} : { clientCertificate }),
  };
}

/** A part that cannot be read, or is not carried out. `closes`: it may restrict connections. */
export interface PartError {
  readonly message: string;
  readonly closes: boolean;
  readonly isUnsupported: boolean;
}

/** Translates parts. Those that cannot be read are left out and reported. */
function settingsOfParts(
  parts: Parts,
  { host, preference }: PolicyTarget,
  onError: (error: PartError) => void,
): TrafficSettings {
  const read = <K extends PartName>(
    name: K,
    closes: boolean,
    translate: (part: NonNullable<Parts[K]>) => TrafficSettings,
  ): TrafficSettings => {
    const part = parts[name];
    if (!part) return {};
    try {
      return translate(part as NonNullable<Parts[K]>);
    } catch (error) {
      onError({ message: errorText(error), closes, isUnsupported: error instanceof Unsupported });
      return {};
    }
  };
  const { loadBalancer: balancer } = parts;
  return present({
    ...read('connectionPool', true, ({ spec, at }) => connectionPool(spec, at)),
    ...read('retryBudget', true, ({ spec, at }) => retryBudget(spec, at)),
    ...read('loadBalancer', false, ({ spec, at }) => ({ loadBalancing: loadBalancer(spec, at) })),
    ...read('outlierDetection', false, ({ spec, at }) => ({
      outlierDetection: outlierDetection(spec, at),
      locality: locality(balancer?.spec, spec, at.slice(0, at.lastIndexOf('.')), preference),
    })),
    ...read('tls', true, (part) => ({ endpointTls: endpointTls(part, host) })),
    ...read('proxyProtocol', true, ({ at }) => {
      throw new Unsupported(`${at}: endpoints get no PROXY header`);
    }),
    ...read('tunnel', true, ({ at }) => {
      throw new Unsupported(`${at}: the waypoint connects to endpoints by tunnels of the mesh`);
    }),
  });
}

export interface RuleSettings {
  readonly settings: TrafficSettings;
  readonly errors: readonly PartError[];
}

/**
 * The settings of a port.
 * @param rule the trafficPolicy of the rule
 * @param subset the trafficPolicy of a subset, with its index
 * @param hasUnknown the schema has refused the object: it may have fields that nobody knows
 */
export function portSettings(
  rule: IstioTrafficPolicy | undefined,
  subset: { readonly policy: IstioTrafficPolicy | undefined; readonly index: number } | undefined,
  port: number,
  target: PolicyTarget,
  hasUnknown: boolean,
): RuleSettings {
  const errors: PartError[] = [];
  const at = 'trafficPolicy';
  let parts = partsOf(rule, at, port, {});
  const unknown = hasUnknown ? [...unknownFields(rule, at, at)] : [];
  if (subset) {
    const where = `subsets[${subset.index}].${at}`;
    parts = partsOf(subset.policy, where, port, parts);
    if (hasUnknown) unknown.push(...unknownFields(subset.policy, where, `subsets[].${at}`));
  }
  for (const field of unknown)
    errors.push({
      message: `${field}: this version does not know the field`,
      closes: !/\.(loadBalancer|outlierDetection)\./.test(field),
      isUnsupported: false,
    });
  return { settings: settingsOfParts(parts, target, (error) => errors.push(error)), errors };
}
