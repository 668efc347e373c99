/** Logs ownership conflicts, once per object and reason: objects in files have no conditions. Unknown label values are setting-problems.ts. */
import type { Compiler } from '../compile/compile.js';
import type { ObjectKey } from '../objects/object-key.js';
import type { ControlLog } from '../log.js';

export class OwnershipLog {
  readonly #said = new Map<ObjectKey, string>();

  constructor(
    private readonly compiler: Pick<Compiler, 'problems'>,
    private readonly log: ControlLog,
  ) {}

  /** To be called after every change of objects. */
  refresh(): void {
    const problems = this.compiler.problems();
    for (const key of this.#said.keys()) {
      if (problems.has(key)) continue;
      this.#said.delete(key);
      this.log.info({ object: key }, `${key} is in force again, or gone`);
    }
    for (const [key, { reason, message }] of problems) {
      if (this.#said.get(key) === message) continue;
      this.#said.set(key, message);
      this.log.warn({ object: key, reason, message }, `${key} is not in force as it is written: ${message}`);
    }
  }
}
