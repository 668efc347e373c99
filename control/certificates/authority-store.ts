/**
 * The CA's keys on Kubernetes: a Secret that is copied into the state directory, from which certificates are issued. All replicas read one
 * Secret; the first replica creates it. Nodes get the roots from a ConfigMap.
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

/** Reads the keys by the names of Weft and of Istio's cacerts, else by those of cert-manager. Pure. Error: WEFT_CA_SECRET. */
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
      "the CA's Secret has neither ca-key.pem, ca-cert.pem and root-cert.pem nor tls.key, tls.crt and ca.crt: add the missing keys",
    );
  }
  return { key, cert, roots };
}

const joinSecret = 'weft-join';

/** Order of writing. The key is last, so that a reader that sees the new key also sees the rest. */
const names = ['cert', 'roots', 'key'] as const satisfies readonly (keyof Keys)[];

export class AuthorityStore {
  constructor(
    private readonly config: KubeConfig,
    private readonly namespace: string,
    private readonly secret: string,
    private readonly state: string,
  ) {}

  /**
   * Copies the Secret into the state directory; false if there is no Secret yet. Errors: ApiError, WEFT_CA_SECRET; the files then stay as
   * they are.
   */
  async pull(): Promise<boolean> {
    let keys: Keys;
    try {
      const path = `/api/v1/namespaces/${this.namespace}/secrets/${this.secret}`;
      keys = keysOfSecret((await requestJson(this.config, 'GET', path)) as SecretObject);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
    // A partial change would leave a CA that cannot issue, or certificates that no node trusts.
    const why = authorityErrorOf(keys.cert, keys.key, keys.roots);
    if (why !== undefined)
      throw new WeftError(
        'WEFT_CA_SECRET',
        `Secret ${this.secret} is refused: ${why}: change key, certificate and roots in one patch`,
      );
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    for (const name of names) {
      const path = join(this.state, caFiles[name]);
      if (existsSync(path) && readFileSync(path, 'utf8') === keys[name]) continue;
      replaceFile(path, keys[name], 0o600);
    }
    return true;
  }

  /** Creates the Secret from the state directory. If another replica has created it first, copies that one instead. Errors: those of pull(). */
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
   * Copies the key of join tokens (for machines outside of the cluster) and the list of revoked ones into the state directory. The first
   * replica creates the key, all share it. Errors: ApiError, WEFT_CA_SECRET, WEFT_REVOCATIONS; the files then stay as they are.
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
    if (key === undefined)
      throw new WeftError(
        'WEFT_CA_SECRET',
        `Secret ${joinSecret} has no key ${keyFile}: restore it, or delete the Secret and create all join tokens again`,
      );
    parseRevocations(revoked);
    mkdirSync(this.state, { recursive: true, mode: 0o700 });
    const keep = (file: string, text: string): void => {
      const at = join(this.state, file);
      if (!existsSync(at) || readFileSync(at, 'utf8') !== text) replaceFile(at, text, 0o600);
    };
    // Revocations are written before the key: no token may be accepted by a new key before the matching list is in place.
    keep(fromSecretFile, `${this.namespace}/${joinSecret}`);
    keep(revocationsFile, revoked);
    keep(keyFile, Buffer.from(key, 'base64').toString('utf8'));
  }

  /** Applies the ConfigMap with the roots, by which nodes verify the control plane. Idempotent. Errors: ApiError. */
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
