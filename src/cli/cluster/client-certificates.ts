/** Findings about client certificates that policies name and whose Secrets are missing. Of a Secret only the metadata is asked for, not the data. */
import type { KubeConfig } from '@kubernetes/client-node';
import { eachAtOnce } from '../../base/at-once.js';
import { isRecord } from '../../base/record.js';
import type { Finding } from '../../findings/finding.js';
import { ApiError, requestMetadata } from '../../kubernetes/request.js';
import { clientCertificateOption, parseSecretName, type SecretName } from '../../model/client-certificate.js';

/** Secrets that are looked for. */
const secretsMax = 64;
const atOnce = 8;

/** The Secret that a BackendTLSPolicy names. Pure. */
export function secretsOfPolicy(spec: unknown): readonly SecretName[] {
  const options = isRecord(spec) ? spec['options'] : undefined;
  const name = isRecord(options) ? parseSecretName(options[clientCertificateOption]) : undefined;
  return name === undefined ? [] : [name];
}

/** The Secrets that a DestinationRule names, wherever its TLS settings are. Pure. */
export function secretsOfRule(spec: unknown): readonly SecretName[] {
  const policies = (at: unknown): readonly unknown[] => {
    if (!isRecord(at)) return [];
    const ports = Array.isArray(at['portLevelSettings']) ? (at['portLevelSettings'] as unknown[]) : [];
    return [at, ...ports];
  };
  const { trafficPolicy, subsets } = isRecord(spec) ? spec : {};
  const all = [
    ...policies(trafficPolicy),
    ...(Array.isArray(subsets) ? (subsets as unknown[]) : []).flatMap((one) =>
      isRecord(one) ? policies(one['trafficPolicy']) : [],
    ),
  ];
  const names = all.flatMap((one) => {
    const tls = isRecord(one) ? one['tls'] : undefined;
    return isRecord(tls) && tls['mode'] === 'MUTUAL' ? (parseSecretName(tls['credentialName']) ?? []) : [];
  });
  return [...new Set(names)];
}

/** An object that names Secrets of its namespace. */
export interface NamingItem {
  /** `BackendTLSPolicy shop/pay` */
  readonly object: string;
  readonly namespace: string;
  readonly secrets: readonly SecretName[];
}

/** Errors: ApiError. */
export async function missingSecrets(config: KubeConfig, items: readonly NamingItem[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  const named = items.flatMap(({ namespace, secrets }) =>
    secrets.map((secret) => [`${namespace}/${secret}`, { namespace, secret }] as const),
  );
  const states = new Map<string, 'there' | 'missing' | 'not read'>();
  await eachAtOnce(
    [...new Map(named)].slice(0, secretsMax),
    atOnce,
    async ([name, { namespace, secret }]) => {
      states.set(name, await stateOf(config, namespace, secret));
    },
  );
  const unread = new Set<string>();
  for (const { object, namespace, secrets } of items)
    for (const secret of secrets) {
      const name = `${namespace}/${secret}`;
      const state = states.get(name);
      if (state === 'missing')
        findings.push({
          level: 'fail',
          what: `${object}: there is no Secret ${name} with its client certificate, so that requests that need it get 503`,
          help: `create it: kubectl -n ${namespace} create secret tls ${secret} --cert=FILE --key=FILE`,
        });
      else if (state !== 'there') unread.add(namespace);
    }
  for (const namespace of unread)
    findings.push({
      level: 'warn',
      what: `Namespace ${namespace}: whether the Secrets with client certificates exist was not read`,
      help: `for it you need the right to get secrets in namespace ${namespace}; at most ${secretsMax} are read`,
    });
  return findings;
}

/** Errors: ApiError, if the API server does not respond. */
async function stateOf(
  config: KubeConfig,
  namespace: string,
  secret: SecretName,
): Promise<'there' | 'missing' | 'not read'> {
  try {
    await requestMetadata(config, `/api/v1/namespaces/${namespace}/secrets/${secret}`);
    return 'there';
  } catch (error) {
    if (!(error instanceof ApiError) || error.status === 0) throw error;
    return error.status === 404 ? 'missing' : 'not read';
  }
}
