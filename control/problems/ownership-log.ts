/** Logs ownership conflicts, once per object and reason: objects in files have no conditions. Unknown label values are setting-problems.ts. */
import type { Compiler } from '../compile/compile.js';
import type { ObjectKey } from '../objects/object-key.js';
import type { ControlLog } from '../log.js';

export class OwnershipLog {
  readonly #logged = new Map<ObjectKey, string>();

  constructor(
    private readonly compiler: Pick<Compiler, 'problems'>,
    private readonly log: ControlLog,
  ) {}

  /** Logs new, changed and resolved conflicts. To be called after every change of objects. */
  refresh(): void {
    const problems = this.compiler.problems();
    for (const key of this.#logged.keys()) {
      if (problems.has(key)) continue;
      this.#logged.delete(key);
      this.log.info({ object: key }, `${key} is in force again, or was deleted`);
    }
    for (const [key, { reason, message }] of problems) {
      if (this.#logged.get(key) === message) continue;
      this.#logged.set(key, message);
      this.log.warn({ object: key, reason, message }, `${key} is not in force as it is written: ${message}`);
    }
  }
}
