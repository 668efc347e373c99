import { fieldBytes, staticEntries, staticNames, staticValues } from './static-table.js';
import {
  indexedNameBytesMax,
  indexedPathBytesMax,
  isSensitive,
  isSensitivePath,
  publicNames,
  sensitiveVersion,
} from './sensitive-names.js';

/** An entry of the dynamic table. */
interface Entry {
  readonly name: NameState;
  readonly value: string;
  /** Counts insertions: the index follows from it. */
  readonly place: number;
  /** Entries of the same name. */
  older: Entry | undefined;
  newer: Entry | undefined;
}

/** What an encoder knows of a name. */
export interface NameState {
  readonly name: string;
  readonly rule: Rule | undefined;
  /** Index of the static table; 0: none. */
  readonly staticIndex: number;
  isNever: boolean;
  newest: Entry | undefined;
  oldest: Entry | undefined;
  /** How many more entries may be made of values that were not seen before. An entry that is used gives credit back. */
  credit: number;
  /** The value of the last field that was not in the table. */
  last: string | undefined;
}

/**
 * Which fields get an entry. Entries that are not used again push out those that are.
 * `index`: usually repeated. `repeat`: only if the same value came before. `literal`: rarely repeated, or shorter than its entry is worth.
 * `never`: secret, so that nobody on the way may index it either (RFC 7541, section 7.1.3).
 */
type Rule = 'index' | 'repeat' | 'literal' | 'never';
const creditMax = 8;
const creditOf = { index: creditMax, repeat: 0, literal: 0, never: 0 } as const;
/** Of a name without a rule. */
const unknownCredit = 2;

const rules = new Map<string, Rule>();
for (const [rule, names] of [
  ['index', `:path ${publicNames.join(' ')}`],
  ['repeat', 'date grpc-timeout grpc-message cookie referer last-modified x-forwarded-for'],
  [
    'literal',
    'age content-length content-range etag expires if-match if-modified-since if-none-match if-range if-unmodified-since location ' +
      'range set-cookie x-request-id traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid uber-trace-id ' +
      'x-envoy-upstream-service-time x-envoy-expected-rq-timeout-ms x-amzn-trace-id x-cloud-trace-context grpc-trace-bin grpc-tags-bin ' +
      'grpc-status-details-bin',
  ],
  ['never', 'authorization proxy-authorization x-api-key x-auth-token x-csrf-token x-xsrf-token'],
] as const) {
  for (const name of names.split(' ')) rules.set(name, rule);
}

/** Cookies below this length can be guessed byte by byte if they are indexed. nghttp2 has the same limit. */
const cookieBytesMin = 20;
/** How many entries of one name are searched. */
const searchedMax = 16;
/** Names without a rule that one encoder remembers, and the longest value that is remembered to find repeated ones. */
const unknownNamesMax = 256;
const lastBytesMax = 256;

/** By name: the first index of the static table. */
const staticIndexes = new Map<string, number>();
for (let index = staticEntries; index > 0; index--) staticIndexes.set(staticNames[index] as string, index);

/** The dynamic table of an encoder, and the decision which fields are indexed. */
export class EncoderTable {
  private readonly names = new Map<string, NameState>();
  /** Without a rule. */
  private unknownNames = 0;
  /** The oldest entry is at `start`. */
  private entries: (Entry | undefined)[] = [];
  private start = 0;
  private inserted = 0;
  private bytes = 0;
  private version = sensitiveVersion();

  constructor(private bytesMax: number) {}

  /** To be called before each block: other connections may have received fields that are never indexed. */
  refreshSensitive(): void {
    if (this.version === sensitiveVersion()) return;
    this.version = sensitiveVersion();
    for (const state of this.names.values()) {
      if (!state.isNever) state.isNever = isSensitive(state.name, state.rule !== undefined);
    }
  }

  state(name: string): NameState {
    return this.names.get(name) ?? this.added(name);
  }

  /** The index of an entry of the static or the dynamic table. 0: none. */
  find(state: NameState, value: string): number {
    if (state.isNever || (state.name === ':path' && isSensitivePath(value))) return 0;
    let index = state.staticIndex;
    if (index > 0) {
      for (; staticNames[index] === state.name; index++) if (staticValues[index] === value) return index;
    }
    let entry = state.newest;
    for (let left = searchedMax; entry !== undefined && left > 0; left--, entry = entry.older) {
      if (entry.value !== value) continue;
      if (state.credit < creditMax) state.credit++;
      return staticEntries + 1 + this.inserted - entry.place;
    }
    return 0;
  }

  /** The index of an entry with this name. 0: none. */
  nameIndex(state: NameState): number {
    if (state.staticIndex > 0) return state.staticIndex;
    return state.newest === undefined ? 0 : staticEntries + 1 + this.inserted - state.newest.place;
  }

  isNever(state: NameState, value: string): boolean {
    if (state.isNever) return true;
    return state.name === 'cookie'
      ? value.length < cookieBytesMin
      : state.name === ':path' && isSensitivePath(value);
  }

  /** Whether a field that is not in the table is to get an entry. */
  isWorthEntry(state: NameState, value: string): boolean {
    const bytes = fieldBytes(state.name, value);
    if (bytes > this.bytesMax / 4) return false;
    // One entry, so that the name is not sent again.
    if (state.staticIndex === 0 && state.newest === undefined) return true;
    if (state.rule === 'literal') return false;
    if (state.name === ':path' && (value.length > indexedPathBytesMax || value.includes('?'))) return false;
    if (state.last === value) return true;
    if (value.length <= lastBytesMax) state.last = value;
    if (state.credit === 0) return false;
    state.credit--;
    return true;
  }

  insert(state: NameState, value: string): void {
    const bytes = fieldBytes(state.name, value);
    this.evict(this.bytesMax - bytes);
    const entry: Entry = {
      name: state,
      value,
      place: ++this.inserted,
      older: state.newest,
      newer: undefined,
    };
    if (state.newest === undefined) state.oldest = entry;
    else state.newest.newer = entry;
    state.newest = entry;
    this.entries.push(entry);
    this.bytes += bytes;
  }

  resize(bytesMax: number): void {
    this.bytesMax = bytesMax;
    this.evict(bytesMax);
  }

  private evict(bytesMax: number): void {
    while (this.bytes > bytesMax && this.start < this.entries.length) {
      const entry = this.entries[this.start] as Entry;
      this.entries[this.start++] = undefined;
      const state = entry.name;
      this.bytes -= fieldBytes(state.name, entry.value);
      state.oldest = entry.newer;
      if (entry.newer === undefined) state.newest = undefined;
      else entry.newer.older = undefined;
    }
    if (this.start > 64 && this.start * 2 > this.entries.length) {
      this.entries = this.entries.slice(this.start);
      this.start = 0;
    }
  }

  private added(name: string): NameState {
    const rule = rules.get(name);
    const staticIndex = staticIndexes.get(name) ?? 0;
    const state: NameState = {
      name: staticIndex === 0 ? name : (staticNames[staticIndex] as string),
      rule,
      staticIndex,
      isNever: rule === 'never' || isSensitive(name, rule !== undefined),
      newest: undefined,
      oldest: undefined,
      credit: rule === undefined ? unknownCredit : creditOf[rule],
      last: undefined,
    };
    if (rule === undefined) {
      if (name.length > indexedNameBytesMax) return state;
      if (this.unknownNames >= unknownNamesMax) this.forgetNames();
      this.unknownNames++;
    }
    this.names.set(name, state);
    return state;
  }

  /** Forgets the names that have neither a rule nor an entry. */
  private forgetNames(): void {
    this.unknownNames = 0;
    for (const [name, state] of this.names) {
      if (state.rule !== undefined) continue;
      if (state.newest === undefined) this.names.delete(name);
      else this.unknownNames++;
    }
  }
}
