/**
 * Resolves the host names of ServiceEntries with a resolution by DNS, and has the objects compiled again whose names have other addresses
 * than before. Each replica of the control plane resolves for itself. A name that no server answers keeps its addresses.
 */
import { errorText } from '../../src/base/errors.js';
import type { Compiler } from '../compile/compile.js';
import { namesToResolve } from '../dialects/istio/service-entry-compile.js';
import type { ControlLog } from '../log.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { MeshObject } from '../objects/objects.js';
import {
  admitNames,
  dueNames,
  intervalMsOf,
  nameLimits,
  namesOfObject,
  type AdmittedNames,
  type KnownName,
  type WantedName,
} from './decide.js';
import { mayBeEndpoint, type LookupName } from './lookup.js';

export interface NameResolverOptions {
  readonly compiler: Pick<Compiler, 'indexes' | 'names'>;
  /** Compiles and publishes the objects whose names have changed. */
  readonly take: (changed: ReadonlyMap<ObjectKey, MeshObject>) => void;
  readonly lookup: LookupName;
  /** Called for each query. */
  readonly onQuery: (result: 'resolved' | 'absent' | 'failed') => void;
  readonly onLimit: (limit: string) => void;
  readonly log: ControlLog;
}

const turnMs = 1_000;

type ServiceEntry = ReturnType<Compiler['indexes']['ServiceEntry']['in']>[number];
interface Wanted {
  readonly entries: readonly ServiceEntry[];
  /** Objects by the names that they want. */
  readonly wanting: ReadonlyMap<string, readonly MeshObject[]>;
  readonly admitted: AdmittedNames;
}

export class NameResolver {
  readonly #known = new Map<string, KnownName>();
  #timer: NodeJS.Timeout | undefined;
  #refused = 0;
  #changed = new Set<string>();
  #wanted: Wanted | undefined;
  /** An object may have tens of thousands of names. */
  readonly #namesOf = new WeakMap<ServiceEntry, readonly string[]>();

  constructor(private readonly options: NameResolverOptions) {}

  start(): void {
    this.#timer = setInterval(() => this.turn(), turnMs).unref();
  }
  stop(): void {
    clearInterval(this.#timer);
  }
  /** How many names are resolved. */
  get size(): number {
    return this.#known.size;
  }

  /** Compiles what has changed, and starts the queries that are due. */
  turn(nowMs = performance.now()): void {
    const { compiler, onLimit } = this.options;
    const { wanting, admitted } = this.#findWanted();
    this.#publish(wanting);
    const { names, refused } = admitted;
    if (refused > this.#refused) onLimit('resolved-names');
    this.#refused = refused;
    for (const name of this.#known.keys())
      if (!names.has(name)) {
        this.#known.delete(name);
        if (compiler.names.set(name, [])) this.#changed.add(name);
      }
    for (const name of dueNames(names, this.#known, nowMs)) {
      this.#known.set(name, { dueMs: nowMs, isUnderWay: true });
      void this.#query(name);
    }
  }

  /** What the objects want. Found again only if they have changed. */
  #findWanted(): Wanted {
    const entries = [...this.options.compiler.indexes.ServiceEntry.all()];
    const former = this.#wanted?.entries;
    if (this.#wanted && former?.length === entries.length && entries.every((one, i) => one === former[i]))
      return this.#wanted;
    const wanting = new Map<string, MeshObject[]>();
    const wanted: WantedName[] = [];
    for (const entry of entries) {
      let own = this.#namesOf.get(entry);
      if (!own) this.#namesOf.set(entry, (own = namesOfObject(namesToResolve(entry))));
      for (const name of own) {
        wanted.push({ namespace: namespaceOf(entry), name });
        const objects = wanting.get(name);
        if (objects) objects.push(entry);
        else wanting.set(name, [entry]);
      }
    }
    return (this.#wanted = { entries, wanting, admitted: admitNames(wanted) });
  }

  async #query(name: string): Promise<void> {
    const { compiler, lookup, onQuery, onLimit, log } = this.options;
    let nextMs: number = nameLimits.intervalMsMin;
    try {
      const { addresses, ttlS } = await lookup(name);
      // Meanwhile nobody may want the name any more.
      if (!this.#known.has(name)) return;
      const usable = addresses.filter(mayBeEndpoint).sort();
      if (usable.length > nameLimits.addresses) onLimit('addresses-of-name');
      onQuery(usable.length > 0 ? 'resolved' : 'absent');
      if (compiler.names.set(name, usable.slice(0, nameLimits.addresses))) this.#changed.add(name);
      nextMs = intervalMsOf(ttlS);
    } catch (error) {
      onQuery('failed');
      log.warn(
        { host: name, error: errorText(error) },
        'a host name was not resolved; it keeps its addresses',
      );
    }
    if (this.#known.has(name))
      this.#known.set(name, { dueMs: performance.now() + nextMs, isUnderWay: false });
  }

  /** Compiles the objects that want a changed name, all at once. */
  #publish(wanting: ReadonlyMap<string, readonly MeshObject[]>): void {
    if (this.#changed.size === 0) return;
    const changed = new Map<ObjectKey, MeshObject>();
    for (const name of this.#changed)
      for (const object of wanting.get(name) ?? []) changed.set(objectKey(object), object);
    this.#changed = new Set();
    if (changed.size > 0) this.options.take(changed);
  }
}
