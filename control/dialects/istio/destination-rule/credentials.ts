/** The client certificates that DestinationRules name (`tls.credentialName`), wherever their TLS settings are. Pure. */
import { isRecord } from '../../../../src/base/record.js';
import {
  foreignCertificate,
  parseSecretName,
  type SecretName,
} from '../../../../src/model/client-certificate.js';
import { namespaceOf } from '../../../../src/model/labels.js';
import type { IstioClientTls } from '../../../objects/istio-destination-rule.js';
import type { ServedObject } from '../../../objects/objects.js';
import { closedRemark, type Remark } from '../../remarks.js';
import type { DestinationRule } from './in-force.js';

const isGiven = (value: unknown): boolean => value !== undefined && value !== null && value !== '';

/** The Secret of mode MUTUAL. Error: why there is none. */
export function mutualCredential(tls: IstioClientTls, at: string): SecretName {
  const file = (['clientCertificate', 'privateKey'] as const).find((name) => isGiven(tls[name]));
  if (file !== undefined)
    throw new Error(`${at}.${file}: Weft reads no files of proxies; use credentialName, a Secret`);
  const { credentialName } = tls;
  if (!isGiven(credentialName))
    throw new Error(`${at}.credentialName: MUTUAL needs the name of a Secret of type kubernetes.io/tls`);
  const name = parseSecretName(credentialName);
  if (name === undefined) throw new Error(`${at}.credentialName: not a name of a Secret of the namespace`);
  return name;
}

/** The TLS settings of a rule, or of its closed form, which may have any content. */
function* tlsOf({ spec }: DestinationRule): Generator<IstioClientTls> {
  const { subsets }: { readonly subsets?: unknown } = spec;
  const policies: unknown[] = [spec.trafficPolicy];
  for (const subset of Array.isArray(subsets) ? (subsets as readonly unknown[]) : [])
    if (isRecord(subset)) policies.push(subset['trafficPolicy']);
  for (const policy of policies) {
    if (!isRecord(policy)) continue;
    if (isRecord(policy['tls'])) yield policy['tls'];
    const ports = policy['portLevelSettings'];
    for (const port of Array.isArray(ports) ? (ports as readonly unknown[]) : [])
      if (isRecord(port) && isRecord(port['tls'])) yield port['tls'];
  }
}

/** Objects are replaced and never changed. */
const known = new WeakMap<DestinationRule, readonly SecretName[]>();
export function credentialNames(rule: DestinationRule): readonly SecretName[] {
  let names = known.get(rule);
  if (!names) {
    const found = [...tlsOf(rule)].flatMap(({ mode, credentialName }) =>
      mode === 'MUTUAL' ? (parseSecretName(credentialName) ?? []) : [],
    );
    known.set(rule, (names = [...new Set(found)]));
  }
  return names;
}

/** What of the rule's certificates closes its ports. @param objects that the rule acts on */
export function credentialRemarks(
  rule: DestinationRule,
  objects: Iterable<ServedObject>,
  registry: { waypointOf(object: ServedObject): { readonly namespace: string } | undefined },
): Remark[] {
  const remarks: Remark[] = [];
  for (const tls of tlsOf(rule)) {
    if (tls.mode === 'SIMPLE' && isGiven(tls['credentialName']))
      remarks.push(
        closedRemark('SIMPLE shows no certificate; use MUTUAL, or leave it out', 'tls.credentialName'),
      );
    if (tls.mode !== 'MUTUAL') continue;
    try {
      mutualCredential(tls, 'tls');
    } catch (error) {
      remarks.push(closedRemark((error as Error).message));
    }
  }
  const [name] = credentialNames(rule);
  if (name === undefined) return remarks;
  for (const object of objects) {
    const waypoint = registry.waypointOf(object);
    const problem =
      waypoint && foreignCertificate(name, waypoint.namespace, namespaceOf(rule), namespaceOf(object));
    if (problem === undefined) continue;
    remarks.push(closedRemark(problem, 'tls.credentialName'));
    break;
  }
  return remarks;
}
