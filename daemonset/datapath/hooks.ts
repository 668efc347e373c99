/**
 * The inbound hooks of pods, one link per network namespace, pinned as `pods/<cookie>`: they outlive the agent. Sole owner of these
 * pins and of the record for whom each was attached.
 */
import { lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.js';
import { closeFd, detachLink, linkNetns, load, openLink } from '../../native/index.js';
import { encodeU64 } from '../maps/row.js';
import { Owners } from './owners.js';

/** What became of hooks of a former build: those of dead namespaces are removed, and some may have to wait. */
export interface AdoptedHooks {
  readonly dead: readonly bigint[];
  /** Cookie to reason: the former program stays in force there, and refuses. */
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

  /** Cookies of the pods whose hook is in the kernel, also from a former life of the agent. Throws where that is not known. */
  attached(): bigint[] {
    try {
      return readdirSync(this.#pods).map((name) => BigInt(`0x${name}`));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  }

  /**
   * Attaches to the namespace at a path, or puts this build's program in the place of what is attached; an empty path means the
   * latter alone. Throws NativeError.
   */
  async attach(cookie: bigint, netns: string): Promise<void> {
    await load(this.object, this.mapsDir, encodeU64(cookie), [
      { program: 'weft_inbound', kind: 'netns', target: netns, pin: this.#pin(cookie) },
    ]);
  }

  /** Inode of the namespace that a hook is attached to; 0 where that has died, undefined where it is not known. */
  inodeOf(cookie: bigint): number | undefined {
    try {
      return linkNetns(this.#pin(cookie));
    } catch {
      return undefined;
    }
  }

  /** By the kernel's own link, which is taken off a namespace that dies. */
  namespaceOf(cookie: bigint): 'alive' | 'dead' | 'unknown' {
    const inode = this.inodeOf(cookie);
    return inode === undefined ? 'unknown' : inode === 0 ? 'dead' : 'alive';
  }

  /** When the pod's hook was attached, by whichever agent (epoch ms): a new program in its place leaves the pin. Undefined where that is not known. */
  attachedAtMs(cookie: bigint): number | undefined {
    try {
      return lstatSync(this.#pin(cookie)).mtimeMs;
    } catch {
      return undefined;
    }
  }

  /**
   * Takes a hook away. All that may fail for want of something is done first, then `before` (capture off), then what cannot
   * fail; so after an error everything is as it was, or `after` has put it back. False where there was no hook.
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
    // A pin that stays is a dead hook: the next turn removes it.
    unlinkSync(this.#pin(cookie));
    this.owners.forget(cookie);
    return true;
  }

  /** This build's program for all that is attached; what fails for one does not keep it from others. */
  async adopt(cookies: readonly bigint[] = this.attached()): Promise<AdoptedHooks> {
    const dead: bigint[] = [];
    const failed = new Map<bigint, string>();
    for (const cookie of cookies) {
      try {
        if (this.namespaceOf(cookie) !== 'dead') await this.attach(cookie, '');
      } catch (error) {
        // It may have died between the two.
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
