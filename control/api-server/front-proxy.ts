/**
 * The user of a request, whom the API server's front proxy names in headers. The names of these headers, and the CA and names of the front
 * proxy's client certificate, are in ConfigMap kube-system/extension-apiserver-authentication. Pure.
 */
import { X509Certificate } from 'node:crypto';
import { errorText, type Decoded } from '../../src/base/errors.js';
import { isRecord } from '../../src/base/record.js';
import { splitPem } from '../../src/tls/certificate.js';

export interface FrontProxy {
  /** PEM */
  readonly ca: string;
  /** Common names of client certificates; empty: any of the CA. */
  readonly allowedNames: readonly string[];
  /** Names of headers in lower case; of the user's name the first one that is there counts. */
  readonly userHeaders: readonly string[];
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraPrefixes: readonly string[];
}

/** A user as SubjectAccessReviews have it. */
export interface User {
  readonly user: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

const limits = { caBytes: 256 << 10, names: 64, extraKeys: 64 } as const;

/** A value of the ConfigMap: a list of texts as JSON. */
function list(data: Readonly<Record<string, unknown>>, key: string): readonly string[] {
  const text = data[key];
  if (text === undefined || text === '') return [];
  const value: unknown = JSON.parse(String(text));
  if (!Array.isArray(value) || value.length > limits.names || !value.every((one) => typeof one === 'string'))
    throw new Error(`${key} is no list of at most ${limits.names} texts`);
  return value as readonly string[];
}

/** Reads the data of the ConfigMap. */
export function readFrontProxy(data: unknown): Decoded<FrontProxy> {
  try {
    if (!isRecord(data)) throw new Error('it has no data');
    const ca = data['requestheader-client-ca-file'];
    if (typeof ca !== 'string' || ca.trim() === '')
      throw new Error('requestheader-client-ca-file is missing: the API server has no front proxy');
    if (ca.length > limits.caBytes)
      throw new Error(`requestheader-client-ca-file has more than ${limits.caBytes} bytes`);
    const certificates = splitPem(ca);
    if (certificates.length === 0) throw new Error('requestheader-client-ca-file has no certificate');
    for (const certificate of certificates) new X509Certificate(certificate);
    const lower = (key: string): readonly string[] => list(data, key).map((one) => one.toLowerCase());
    const userHeaders = lower('requestheader-username-headers');
    if (userHeaders.length === 0) throw new Error('requestheader-username-headers is missing');
    return {
      ok: true,
      value: {
        ca: certificates.join('\n'),
        allowedNames: list(data, 'requestheader-allowed-names'),
        userHeaders,
        uidHeaders: lower('requestheader-uid-headers'),
        groupHeaders: lower('requestheader-group-headers'),
        extraPrefixes: lower('requestheader-extra-headers-prefix'),
      },
    };
  } catch (error) {
    return { ok: false, errors: [errorText(error)] };
  }
}

/** Whether a verified client certificate is one of the front proxy. */
export const isFrontProxy = ({ allowedNames }: FrontProxy, commonName: string | undefined): boolean =>
  allowedNames.length === 0 || (commonName !== undefined && allowedNames.includes(commonName));

type Headers = Readonly<Record<string, readonly string[] | undefined>>;

/** The first of these headers. Of one that is there more than once, nobody knows which counts. */
function first(headers: Headers, names: readonly string[]): string | undefined {
  const values = names.map((name) => headers[name] ?? []).find((one) => one.length > 0) ?? [];
  return values.length === 1 && values[0] !== '' ? values[0] : undefined;
}

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/**
 * The user whom the front proxy names; undefined: none.
 * @param headers by name in lower case, each with all of its values
 */
export function userOf(headers: Headers, frontProxy: FrontProxy): User | undefined {
  const user = first(headers, frontProxy.userHeaders);
  if (user === undefined) return undefined;
  const uid = first(headers, frontProxy.uidHeaders);
  const extra = new Map<string, readonly string[]>();
  for (const [name, values = []] of Object.entries(headers))
    for (const prefix of frontProxy.extraPrefixes) {
      if (!name.startsWith(prefix)) continue;
      const key = decoded(name.slice(prefix.length));
      extra.set(key, [...(extra.get(key) ?? []), ...values]);
    }
  // A part of what restricts the user must not be left out.
  if (extra.size > limits.extraKeys) return undefined;
  return {
    user,
    ...(uid === undefined ? {} : { uid }),
    groups: frontProxy.groupHeaders.flatMap((name) => headers[name] ?? []),
    extra: Object.fromEntries(extra),
  };
}
