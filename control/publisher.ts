/** Turns changed objects into resource updates: compiles the changes, and passes the resources that differ to the server. */
import type { ChangeOrigin } from '../src/model/change.js';
import type { Cause } from './changes/change-log.js';
import { causesOf } from './changes/causes.js';
import { Compiler } from './compile/compile.js';
import type { ResourceChanges } from './compile/resource.js';
import type { CompileSettings } from './compile/settings.js';
import type { ObjectKey } from './objects/object-key.js';
import type { MeshObject } from './objects/objects.js';
import { problemLine, SettingProblems } from './problems/setting-problems.js';
import type { ControlLog } from './log.js';
import { OwnershipLog } from './problems/ownership-log.js';
import { Resources, type ChangedNames } from './serve/resources.js';

export interface PublisherOptions {
  readonly settings: CompileSettings;
  /** Called after each compilation, whether resources changed or not. */
  readonly onCompiled: () => void;
  /** Called after each later turn in which waiting objects were compiled; absent: nobody asks. */
  readonly onTurn?: () => void;
  /**
   * Called with the names of changed resources, which must be sent to nodes.
   * @param causes objects that have changed; `rest`: those of an earlier call, of which the rest was compiled now
   */
  readonly onUpdate: (changed: readonly ChangedNames[], causes: readonly Cause[] | 'rest') => void;
  /** Called when a limit of docs/limits.md is reached. */
  readonly onLimit: (limit: string) => void;
  readonly log: ControlLog & { error(fields: object, text: string): void };
}

/** Time that waiting objects are recompiled at a stretch (docs/limits.md). One large object may take longer. */
const turnMsMax = 20;

export class Publisher {
  readonly compiler: Compiler;
  readonly resources = new Resources();
  /** Unknown values of labels and annotations. */
  readonly settingProblems: SettingProblems;
  readonly #problems: OwnershipLog;
  #isFirst = true;
  #nextTurn: NodeJS.Timeout | undefined;

  constructor(private readonly options: PublisherOptions) {
    const { settings, onLimit, log } = options;
    this.compiler = new Compiler(settings);
    this.settingProblems = new SettingProblems(() => onLimit('setting-problems'));
    this.#problems = new OwnershipLog(this.compiler, log);
  }

  /**
   * Compiles and publishes changes. Unknown values of labels and annotations are logged. Objects that only refer to what has changed may follow in
   * later turns of the event loop, except at the first call: nodes are not sent a part of the mesh.
   * @param changed objects by key; undefined: deleted
   * @param originOf who wrote an object; absent: nobody did, the objects are compiled again
   */
  apply(
    changed: ReadonlyMap<ObjectKey, MeshObject | undefined>,
    originOf?: (key: ObjectKey) => ChangeOrigin | undefined,
  ): void {
    const before = new Map([...changed.keys()].map((key) => [key, this.compiler.object(key)]));
    for (const found of this.settingProblems.apply(changed)) {
      const { kind, metadata } = found.object;
      const { namespace, name } = metadata;
      this.options.log.error({ kind, namespace, name }, problemLine(found));
    }
    const causes = this.#isFirst || !originOf ? () => [] : () => causesOf(before, changed, originOf);
    this.#publish(this.compiler.apply(changed, !this.#isFirst), causes);
    this.#isFirst = false;
    this.#planTurn(0);
  }

  /** Replaces the settings, and compiles and publishes every object. */
  configure(settings: CompileSettings): void {
    this.#publish(this.compiler.configure(settings), () => []);
  }

  /** Ends the turns. */
  stop(): void {
    clearTimeout(this.#nextTurn);
  }

  #planTurn(delayMs: number): void {
    if (this.compiler.waiting > 0) this.#nextTurn ??= setTimeout(() => this.#turn(), delayMs);
  }
  /** As much time as a turn takes is then left to everything else. */
  #turn(): void {
    this.#nextTurn = undefined;
    const fromMs = performance.now();
    this.#publish(
      this.compiler.continue(() => performance.now() - fromMs >= turnMsMax),
      () => 'rest',
    );
    this.options.onTurn?.();
    this.#planTurn(performance.now() - fromMs);
  }

  #publish(changes: ResourceChanges, causes: () => readonly Cause[] | 'rest'): void {
    const { log, onCompiled, onUpdate } = this.options;
    const changed = this.resources.apply(changes);
    this.#problems.refresh();
    onCompiled();
    if (changed.length === 0) return;
    onUpdate(changed, causes());
    const names = changed.reduce((sum, one) => sum + one.names.size, 0);
    log.info({ objects: this.compiler.size, changed: names }, 'compiled');
  }
}
