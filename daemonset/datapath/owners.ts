/**
 * Records of the pod for which each inbound hook was attached. A record is a directory `owners/<cookie>-<key>` in the BPF file system
 * (which has no regular files), so it lives as long as the hooks. It is created before the hook. A build that does not know the
 * `owners` directory treats it as an unfinished generation and removes it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { NodePod } from '../../src/model/node-pod.js';

export const ownersDir = 'owners';

const kubernetesMark = 'k';

/**
 * The key of a pod: a name without a dot, which the BPF file system rejects. Pods of the same name with different podUids have
 * different keys. Keys of Kubernetes pods start with a mark: the object of such a pod can be deleted while its processes still run.
 */
export function ownerKey({ uid, podUid }: Pick<NodePod, 'uid' | 'podUid'>): string {
  const hash = createHash('sha256').update(`${uid} ${podUid}`).digest('hex');
  return podUid === '' ? hash.slice(0, 32) : `${kubernetesMark}${hash.slice(0, 31)}`;
}
export const isOfKubernetes = (key: string): boolean => key.startsWith(kubernetesMark);

export class Owners {
  readonly #dir: string;
  #known: Map<bigint, string> | undefined;

  constructor(instanceDir: string) {
    this.#dir = join(instanceDir, ownersDir);
  }

  /** Key of the pod for which a hook was attached; undefined if none is recorded. Throws if the records cannot be read. */
  of(cookie: bigint): string | undefined {
    return this.#read().get(cookie);
  }

  /** Records the owner. Call it before the hook is attached: a hook without a recorded owner is kept for any pod. */
  record(cookie: bigint, key: string): void {
    const known = this.#read();
    const before = known.get(cookie);
    if (before === key) return;
    mkdirSync(join(this.#dir, nameOf(cookie, key)), { recursive: true });
    known.set(cookie, key);
    if (before !== undefined) this.#remove(cookie, before);
  }

  /** Removes the record. Call it after the hook is removed. */
  forget(cookie: bigint): void {
    const known = this.#read();
    const key = known.get(cookie);
    if (key === undefined) return;
    this.#remove(cookie, key);
    known.delete(cookie);
  }

  #remove(cookie: bigint, key: string): void {
    try {
      rmdirSync(join(this.#dir, nameOf(cookie, key)));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  /** A killed agent can leave two records for one cookie. Both are removed, since either may be the right one. */
  #read(): Map<bigint, string> {
    if (this.#known) return this.#known;
    mkdirSync(this.#dir, { recursive: true });
    const found = new Map<bigint, string[]>();
    for (const name of readdirSync(this.#dir)) {
      const [cookie = '', key = ''] = name.split('-');
      const at = BigInt(`0x${cookie}`);
      found.set(at, [...(found.get(at) ?? []), key]);
    }
    const known = new Map<bigint, string>();
    for (const [cookie, keys] of found) {
      const [key] = keys;
      if (keys.length === 1 && key !== undefined) known.set(cookie, key);
      else for (const one of keys) this.#remove(cookie, one);
    }
    return (this.#known = known);
  }
}

const nameOf = (cookie: bigint, key: string): string => `${cookie.toString(16)}-${key}`;
