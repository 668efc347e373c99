/**
 * For which pod each inbound hook was attached, kept beside the hooks so that it lives as long as they do: a directory
 * `owners/<cookie>-<key>` in the BPF file system, which has no files, made before the hook is. A build that does not know of
 * it takes the whole for an unfinished generation and removes it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { NodePod } from '../../src/model/node-pod.js';

export const ownersDir = 'owners';

const kubernetesMark = 'k';

/**
 * A name without a dot, which the BPF file system refuses. Another pod of the same name (podUid) is another owner. Pods of Kubernetes
 * have a mark in front: their objects can be gone while their processes run.
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

  /** Undefined where no owner was recorded. Throws where that cannot be read. */
  of(cookie: bigint): string | undefined {
    return this.#read().get(cookie);
  }

  /** Before the hook is attached: a hook without a known owner is kept for anybody. */
  record(cookie: bigint, key: string): void {
    const known = this.#read();
    const before = known.get(cookie);
    if (before === key) return;
    mkdirSync(join(this.#dir, nameOf(cookie, key)), { recursive: true });
    known.set(cookie, key);
    if (before !== undefined) this.#remove(cookie, before);
  }

  /** After the hook is gone. */
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

  /** Of two records of one cookie, which a killed agent leaves, none counts: either may be its pod's. */
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
