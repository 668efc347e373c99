/**
 * The CA's keys on Kubernetes: a Secret, copied into the state directory, from which certificates are issued. Several replicas
 * read one Secret; the first of them makes it. Roots are given to the nodes by a ConfigMap.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../../src/base/errors.js';
import { authorityErrorOf, caFiles } from './authority-files.js';
import { replaceFile } from '../replace-file.js';
import { fromSecretFile, parseRevocations, revocationsFile } from '../authentication/revocations.js';
import { keyFile } from '../authentication/join-tokens.js';
import { ApiError, requestJson } from '../../src/kubernetes/request.js';

interface SecretObject {
  readonly data?: Readonly<Record<string, string>>;
}
interface Keys {
  readonly key: string;
  readonly cert: string;
  readonly roots: string;
}

/** Weft's own and Istio's cacerts, else cert-manager's names. Pure. Error: WEFT_CA_SECRET. */
export function keysOfSecret(secret: SecretObject): Keys {
  const read = (...names: string[]): string | undefined => {
    const found = names.map((name) => secret.data?.[name]).find((text) => text !== undefined && text !== '');
    return found === undefined ? undefined : Buffer.from(found, 'base64').toString('utf8');
  };
  const key = read('ca-key.pem', 'tls.key');
  const cert = read('ca-cert.pem', 'tls.crt');
  const roots = read('root-cert.pem', 'ca.crt') ?? cert;
  if (key === undefined || cert === undefined || roots === undefined) {
    throw new WeftError(
      'WEFT_CA_SECRET',
      'the secret has neither ca-key.pem, ca-cert.pem and root-cert.pem nor tls.key, tls.crt and ca.crt',
    );
  }
  return { key, cert, roots };
}

const joinSecret = 'weft-join';

/** Keys last: a reader that sees the new key sees the rest too. */
const names = ['cert', 'roots', 'key'] as const satisfies readonly (keyof Keys)[];

export class AuthorityStore {
  constructor(
    private readonly config: KubeConfig,
    private readonly namespace: string,
    private readonly secret: string,
    private readonly state: string,
  ) {}

  /** Copies the Secret into the state directory; false where there is none yet. Errors: ApiError, WEFT_CA_SECRET: what was there stays. */
  async pull(): Promise<boolean> {
    let keys: Keys;
    try {
      const path = `/api/v1/namespaces/${this.namespace}/secrets/${this.secret}`;
      keys = keysOfSecret((await requestJson(this.config, 'GET', path)) as SecretObject);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
    // Half of a change would leave nobody who can issue, or certificates that nobody trusts.
    const why = authorityErrorOf(keys.cert, keys.key, keys.roots);
    if (why !== undefined)
      throw new WeftError(
        'WEFT_CA_SECRET',
        `secret ${this.secret} is not taken: ${why}: change what belongs together at once`,
      );
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    for (const name of names) {
      const path = join(this.state, caFiles[name]);
      if (existsSync(path) && readFileSync(path, 'utf8') === keys[name]) continue;
      replaceFile(path, keys[name], 0o600);
    }
    return true;
  }

  /** Makes the Secret from the state directory; another replica may have been first: then theirs counts. */
  async create(): Promise<void> {
    const data = Object.fromEntries(
      names.map((name) => [caFiles[name], readFileSync(join(this.state, caFiles[name])).toString('base64')]),
    );
    try {
      await requestJson(this.config, 'POST', `/api/v1/namespaces/${this.namespace}/secrets`, {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: this.secret, labels: { 'app.kubernetes.io/part-of': 'weft' } },
        type: 'Opaque',
        data,
      });
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
      await this.pull();
    }
  }

  /**
   * The key of join tokens, for machines outside of the cluster, and which of them are revoked; the first replica makes the key, all
   * share it. Errors: ApiError, WEFT_CA_SECRET, WEFT_REVOCATIONS: what was read before stays.
   */
  async pullJoinKey(): Promise<void> {
    const path = `/api/v1/namespaces/${this.namespace}/secrets`;
    let revoked = '';
    const read = async (): Promise<string | undefined> => {
      const { data } = (await requestJson(this.config, 'GET', `${path}/${joinSecret}`)) as SecretObject;
      revoked = Buffer.from(data?.[revocationsFile] ?? '', 'base64').toString('utf8');
      return data?.[keyFile];
    };
    let key: string | undefined;
    try {
      key = await read();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      const made = Buffer.from(randomBytes(32).toString('base64')).toString('base64');
      const metadata = { name: joinSecret, labels: { 'app.kubernetes.io/part-of': 'weft' } };
      try {
        const body = {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata,
          type: 'Opaque',
          data: { [keyFile]: made },
        };
        await requestJson(this.config, 'POST', path, body);
      } catch (conflict) {
        if (!(conflict instanceof ApiError) || conflict.status !== 409) throw conflict;
      }
      key = await read();
    }
    if (key === undefined) throw new WeftError('WEFT_CA_SECRET', `secret ${joinSecret} holds no ${keyFile}`);
    parseRevocations(revoked);
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    const keep = (file: string, text: string): void => {
      const at = join(this.state, file);
      if (!existsSync(at) || readFileSync(at, 'utf8') !== text) replaceFile(at, text, 0o600);
    };
    // What is revoked first: no token counts by a new key before the list that goes with it.
    keep(fromSecretFile, `${this.namespace}/${joinSecret}`);
    keep(revocationsFile, revoked);
    keep(keyFile, Buffer.from(key, 'base64').toString('utf8'));
  }

  /** What nodes check the control plane by. Idempotent: applied as a whole. */
  async publishRoots(configMap: string, roots: string): Promise<void> {
    const path = `/api/v1/namespaces/${this.namespace}/configmaps/${configMap}`;
    await requestJson(this.config, 'PATCH', `${path}?fieldManager=weft-control&force=true`, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: configMap, labels: { 'app.kubernetes.io/part-of': 'weft' } },
      data: { 'root-cert.pem': roots },
    });
  }
}
