/**
 * Fetches the keys of issuers, and has the objects compiled again whose keys have changed. Each replica of the control plane fetches for
 * itself. The last good set stays in force while fetching fails. Waypoints never dial an issuer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from '../../src/base/errors.js';
import { namespaceOf } from '../../src/model/labels.js';
import type { Compiler } from '../compile/compile.js';
import type { ControlLog } from '../log.js';
import { objectKey, type ObjectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import type { Admitted, Wanted } from '../shares.js';
import {
  admitUris,
  afterFailure,
  afterRefetchRequest,
  afterSuccess,
  dueUris,
  type KnownUri,
  type Refetch,
} from './decide.js';
import type { FetchKeys } from './fetch.js';
import { readKeySet } from './key-set.js';
import { isDiscovery, keysUriIn } from './uri.js';
import { urisOfObject, wantingObjects, type WantingObject } from './wanted.js';

export interface KeyFetcherOptions {
  readonly compiler: Pick<Compiler, 'indexes' | 'authenticationPolicies' | 'keySets'>;
  /** Compiles and publishes the objects whose keys have changed. */
  readonly take: (changed: ReadonlyMap<ObjectKey, MeshObject>) => void;
  readonly fetch: FetchKeys;
  /** Called for each request. */
  readonly onFetch: (result: 'changed' | 'unchanged' | 'failed') => void;
  readonly onLimit: (limit: string) => void;
  readonly log: ControlLog;
}

const turnMs = 1_000;
const extraTurnMs = 100;
const readyPollMs = 20;
const problemCharsMax = 300;
/** The message of somebody else's server may have any length and content. */
const bounded = (text: string): string => text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, problemCharsMax);

interface Found {
  readonly objects: readonly WantingObject[];
  readonly wanting: ReadonlyMap<string, readonly WantingObject[]>;
  readonly admitted: Admitted;
}

export class KeyFetcher {
  readonly #known = new Map<string, KnownUri>();
  /** URIs beyond a limit, whose problem is stored. */
  #refused = new Set<string>();
  #changed = new Set<string>();
  #found: Found | undefined;
  #timer: NodeJS.Timeout | undefined;
  #extra: NodeJS.Timeout | undefined;

  constructor(private readonly options: KeyFetcherOptions) {}

  start(): void {
    this.#timer = setInterval(() => this.turn(), turnMs).unref();
  }
  /**
   * Resolves once each key set has been asked for, or after the time. A waypoint that connects before that would be sent policies without
   * keys, and would refuse tokens that it has accepted so far.
   */
  async ready(timeoutMs: number): Promise<void> {
    const end = performance.now() + timeoutMs;
    const isPending = ([uri]: readonly [string, unknown]): boolean => {
      const known = this.#known.get(uri);
      return (
        !known ||
        (known.isUnderWay && known.failures === 0 && this.options.compiler.keySets.of(uri).jwks === '')
      );
    };
    while (performance.now() < end && [...this.#find().admitted.names].some(isPending)) {
      this.turn();
      await sleep(readyPollMs);
    }
    this.turn();
  }
  stop(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#extra);
    this.#timer = undefined;
  }
  /** How many key sets are fetched. */
  get size(): number {
    return this.#known.size;
  }
  /** How many of these have no keys. */
  get missing(): number {
    return [...this.#known.keys()].filter((uri) => this.options.compiler.keySets.of(uri).jwks === '').length;
  }

  /** Compiles what has changed, and starts the requests that are due. */
  turn(nowMs = performance.now()): void {
    const found = this.#find();
    this.#publish(found.wanting);
    this.#forget(found);
    for (const uri of dueUris(found.admitted.names, this.#known, nowMs)) {
      this.#known.set(uri, {
        failures: 0,
        ...this.#known.get(uri),
        dueMs: nowMs,
        begunMs: nowMs,
        isUnderWay: true,
      });
      void this.#fetch(uri);
    }
  }

  /** Fetches a set sooner than planned, but not sooner than its limit. Undefined: the set is not fetched at all. */
  refetch(uri: string, nowMs = performance.now()): Refetch | undefined {
    const before = this.#known.get(uri);
    if (!before) return undefined;
    const { known, result } = afterRefetchRequest(before, nowMs);
    this.#known.set(uri, known);
    if (result === 'planned') this.#soon();
    return result;
  }

  /** A turn ahead of time: requests are refused meanwhile that have new keys. Several sets share it. */
  #soon(): void {
    if (this.#timer === undefined) return;
    this.#extra ??= setTimeout(() => {
      this.#extra = undefined;
      this.turn();
    }, extraTurnMs).unref();
  }

  /** What the objects want. Found again only if they have changed. */
  #find(): Found {
    const objects = [...wantingObjects(this.options.compiler)];
    const before = this.#found?.objects;
    if (this.#found && before?.length === objects.length && objects.every((one, i) => one === before[i]))
      return this.#found;
    const wanting = new Map<string, WantingObject[]>();
    const wanted: Wanted[] = [];
    for (const object of objects)
      for (const uri of urisOfObject(object)) {
        wanted.push({ namespace: namespaceOf(object), name: uri });
        const list = wanting.get(uri);
        if (list) list.push(object);
        else wanting.set(uri, [object]);
      }
    return (this.#found = { objects, wanting, admitted: admitUris(wanted) });
  }

  /** Drops what nobody wants, and says of what is beyond a limit why it has no keys. */
  #forget({ wanting, admitted }: Found): void {
    const { compiler, onLimit } = this.options;
    for (const uri of this.#known.keys())
      if (!admitted.names.has(uri)) {
        this.#known.delete(uri);
        compiler.keySets.delete(uri);
        this.#changed.add(uri);
      }
    const refused = new Set([...wanting.keys()].filter((uri) => !admitted.names.has(uri)));
    for (const uri of this.#refused)
      if (!refused.has(uri) && !this.#known.has(uri)) compiler.keySets.delete(uri);
    for (const uri of refused) {
      if (!this.#refused.has(uri)) onLimit('jwks-uris');
      const problem = 'the namespace, or the mesh, has too many key sets: its keys are not fetched';
      if (compiler.keySets.set(uri, { jwks: '', problem })) this.#changed.add(uri);
    }
    this.#refused = refused;
  }

  async #fetch(uri: string): Promise<void> {
    const { compiler, fetch, onFetch, log } = this.options;
    const before = compiler.keySets.of(uri);
    let next: (known: KnownUri) => KnownUri;
    try {
      const { text, maxAgeS } = await fetch(isDiscovery(uri) ? keysUriIn((await fetch(uri)).text) : uri);
      const { jwks, count, dropped } = readKeySet(text);
      // Meanwhile nobody may want it any more.
      if (!this.#known.has(uri)) return;
      const isChanged = compiler.keySets.set(uri, { jwks, problem: '' });
      if (isChanged) this.#changed.add(uri);
      if (before.jwks !== jwks)
        log.info(
          { uri, keys: count, dropped: dropped.slice(0, 10).map(bounded) },
          'keys of an issuer were fetched',
        );
      onFetch(before.jwks === jwks ? 'unchanged' : 'changed');
      next = () => afterSuccess(performance.now(), maxAgeS, Math.random());
    } catch (error) {
      if (!this.#known.has(uri)) return;
      const why = bounded(errorText(error));
      onFetch('failed');
      log.warn({ uri, why }, 'keys of an issuer were not fetched; the last good set, if any, stays in force');
      const problem = `its keys cannot be fetched from ${bounded(uri)}: ${why}`;
      // The last good set stays: a key that its issuer has revoked is valid until the next success.
      if (before.jwks === '' && compiler.keySets.set(uri, { jwks: '', problem })) this.#changed.add(uri);
      next = (known) => afterFailure(performance.now(), known, Math.random());
    }
    const known = this.#known.get(uri);
    if (known) this.#known.set(uri, { ...known, ...next(known) });
    if (this.#changed.size > 0) this.#soon();
  }

  /** Compiles the objects that want a changed set, all at once. */
  #publish(wanting: ReadonlyMap<string, readonly WantingObject[]>): void {
    if (this.#changed.size === 0) return;
    const changed = new Map<ObjectKey, MeshObject>();
    for (const uri of this.#changed)
      for (const object of wanting.get(uri) ?? []) changed.set(objectKey(object), object);
    this.#changed = new Set();
    if (changed.size > 0) this.options.take(changed);
  }
}
