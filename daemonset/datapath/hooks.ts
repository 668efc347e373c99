/**
 * The inbound hooks of pods: one link per network namespace, pinned as `pods/<cookie>`, so that it outlives the agent. This module is
 * the sole owner of these pins and of the records of their pods (owners.ts).
 */
import { lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import { closeFd, detachLink, linkNetns, load, openLink } from '../../native/index.js';
import { encodeU64 } from '../maps/row.js';
import { Owners } from './owners.js';

/** Result of adopting the hooks of a former build. */
export interface AdoptedHooks {
  /** Cookies of dead network namespaces, whose hooks were removed. */
  readonly dead: readonly bigint[];
  /** Cookie to reason. The former program stays attached there, and refuses. */
  readonly failed: ReadonlyMap<bigint, string>;
}

export class PodHooks {
  readonly owners: Owners;
  readonly #pods: string;

  /** `object`: path of the program; `mapsDir`: where its maps are pinned. */
  constructor(
    instanceDir: string,
    private readonly object: string,
    private readonly mapsDir: string,
  ) {
    this.#pods = join(instanceDir, 'pods');
    this.owners = new Owners(instanceDir);
  }

  /** Cookies of the pods whose hook is in the kernel, including those of a previous agent. Throws if the directory cannot be read. */
  attached(): bigint[] {
    try {
      return readdirSync(this.#pods).map((name) => BigInt(`0x${name}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /**
   * Attaches the hook to the network namespace at a path, or replaces the program of an attached hook by this build's. An empty path
   * only replaces. Error: NativeError.
   */
  async attach(cookie: bigint, netns: string): Promise<void> {
    await load(this.object, this.mapsDir, encodeU64(cookie), [
      { program: 'weft_inbound', kind: 'netns', target: netns, pin: this.#pin(cookie) },
    ]);
  }

  /** Inode of the network namespace to which a hook is attached; 0 if that namespace died, undefined if unknown. */
  inodeOf(cookie: bigint): number | undefined {
    try {
      return linkNetns(this.#pin(cookie));
    } catch {
      return undefined;
    }
  }

  /** State of a hook's network namespace, from the link: the kernel detaches a link when its namespace dies. */
  namespaceOf(cookie: bigint): 'alive' | 'dead' | 'unknown' {
    const inode = this.inodeOf(cookie);
    return inode === undefined ? 'unknown' : inode === 0 ? 'dead' : 'alive';
  }

  /**
   * When the pod's hook was attached, by this or a previous agent (epoch ms). Replacing the program does not change the pin.
   * Undefined if unknown.
   */
  attachedAtMs(cookie: bigint): number | undefined {
    try {
      return lstatSync(this.#pin(cookie)).mtimeMs;
    } catch {
      return undefined;
    }
  }

  /**
   * Removes a hook; false if there was none. Steps that need resources, and so may fail, run first; then `before` (capture off);
   * then the detach. After an error the state is unchanged, or `after` has restored it.
   */
  detach(cookie: bigint, before: () => void = () => undefined, after: () => void = () => undefined): boolean {
    const fd = openLink(this.#pin(cookie));
    if (fd === undefined) {
      before();
      this.owners.forget(cookie);
      return false;
    }
    try {
      before();
      try {
        detachLink(fd);
      } catch (error) {
        after();
        throw error;
      }
    } finally {
      closeFd(fd);
    }
    // If the unlink fails, the pin is that of a dead hook: the next pass removes it.
    unlinkSync(this.#pin(cookie));
    this.owners.forget(cookie);
    return true;
  }

  /** Replaces the programs of attached hooks by this build's. A failure for one hook does not affect the others. */
  async adopt(cookies: readonly bigint[] = this.attached()): Promise<AdoptedHooks> {
    const dead: bigint[] = [];
    const failed = new Map<bigint, string>();
    for (const cookie of cookies) {
      try {
        if (this.namespaceOf(cookie) !== 'dead') await this.attach(cookie, '');
      } catch (error) {
        // The namespace may have died between the two calls.
        if (this.namespaceOf(cookie) !== 'dead') failed.set(cookie, errorText(error));
      }
      if (failed.has(cookie) || this.namespaceOf(cookie) !== 'dead') continue;
      try {
        this.detach(cookie);
        dead.push(cookie);
      } catch (error) {
        failed.set(cookie, errorText(error));
      }
    }
    return { dead, failed };
  }

  #pin(cookie: bigint): string {
    return join(this.#pods, cookie.toString(16));
  }
}
