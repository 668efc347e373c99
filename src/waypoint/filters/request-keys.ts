/**
 * The parts of a request that rate limits count by and that balancers hash. Clients choose most of them, so each value is bounded in length.
 */
import { createHash } from 'node:crypto';
import type * as pb from '../../discovery/gen/weft.js';
import type { hashKeyKinds, rateLimitKeyKinds } from '../../model/service-policy.js';
import { pathOf } from '../../policy/path.js';
import { joinedHeader, type Headers } from '../http/headers.js';
import type { FilteredRequest } from './filter.js';

/** What keys read of a request. */
export interface KeyedRequest {
  readonly client: FilteredRequest['client'];
  readonly downstream: Pick<FilteredRequest['downstream'], 'head'>;
  readonly routeLabel: string | undefined;
}

type KeyKind = (typeof rateLimitKeyKinds)[number] | (typeof hashKeyKinds)[number];

/** The value of one key; undefined if the request has none. */
export type ReadKey = (request: KeyedRequest) => string | undefined;

/** Characters of a key's value, and of several values together. A longer value is replaced by its digest. */
export const keyLengthMax = 256;

/**
 * Compiles one key of a rate limit or of a hash policy. Throws for a kind that this version does not know.
 * @param name of a header, cookie or query parameter
 */
export function keyReader({ kind, name }: Pick<pb.RateLimitKey, 'kind' | 'name'>): ReadKey {
  const read = readerOf(kind as KeyKind, name);
  return (request) => {
    const value = read(request);
    return value === undefined || value.length <= keyLengthMax ? value : digestOf(value);
  };
}

function readerOf(kind: KeyKind, name: string): ReadKey {
  switch (kind) {
    case 'client-identity':
      return ({ client }) => client.name;
    case 'client-namespace':
      return ({ client }) => client.group;
    case 'client-address':
      return ({ client }) => client.address.ip;
    case 'method':
      return ({ downstream: { head } }) => head.method;
    case 'path':
      return ({ downstream: { head } }) => pathOf(head.path);
    case 'route':
      return ({ routeLabel }) => routeLabel ?? '';
    case 'header': {
      const field = needName(kind, name).toLowerCase();
      if (field === 'host') return ({ downstream: { head } }) => head.authority;
      return ({ downstream: { head } }) => joinedHeader(head.headers, field);
    }
    case 'cookie':
      needName(kind, name);
      return ({ downstream: { head } }) => cookieOf(head.headers, name);
    case 'query':
      needName(kind, name);
      return ({ downstream: { head } }) => parameterOf(head.path, name);
    default:
      throw new Error(`key of unknown kind ${JSON.stringify(String(kind).slice(0, 64))}`);
  }
}

function needName(kind: string, name: string): string {
  if (name === '') throw new Error(`the name of a ${kind} key is empty`);
  return name;
}

/** A client that sends a digest as a value gets the key of the longer value, which it could have sent as well. */
const digestOf = (value: string): string =>
  `sha256:${createHash('sha256').update(value).digest('base64url')}`;

/** The first cookie of the name. */
function cookieOf(headers: Headers, name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i] !== 'cookie') continue;
    const line = headers[i + 1] ?? '';
    for (let from = 0; from < line.length;) {
      let end = line.indexOf(';', from);
      if (end < 0) end = line.length;
      const equals = line.indexOf('=', from);
      if (equals >= 0 && equals < end && line.slice(from, equals).trim() === name)
        return line.slice(equals + 1, end).trim();
      from = end + 1;
    }
  }
  return undefined;
}

/** The first parameter of the name, decoded: a client must not get another key by escaping characters. */
function parameterOf(path: string, name: string): string | undefined {
  const at = path.indexOf('?');
  if (at < 0) return undefined;
  return new URLSearchParams(path.slice(at + 1)).get(name) ?? undefined;
}

/** Compiles keys. The result has one value for each key; undefined: the request lacks a header, cookie or parameter. */
export function requestValues(
  keys: readonly pb.RateLimitKey[],
): (request: KeyedRequest) => string[] | undefined {
  const readers = keys.map(keyReader);
  return (request) => {
    const values: string[] = [];
    for (const read of readers) {
      const value = read(request);
      if (value === undefined) return undefined;
      values.push(value);
    }
    return values;
  };
}

/**
 * Compiles keys to one text. Two requests have the same text only if all values are the same, because each value follows its length.
 * Undefined: the request lacks a header, cookie or parameter.
 */
export function requestKey(keys: readonly pb.RateLimitKey[]): (request: KeyedRequest) => string | undefined {
  const readers = keys.map(keyReader);
  const [only] = readers;
  if (!only) return () => '';
  if (readers.length === 1) return only;
  return (request) => {
    let text = '';
    for (const read of readers) {
      const value = read(request);
      if (value === undefined) return undefined;
      text += `${value.length}:${value}`;
    }
    return text.length <= keyLengthMax ? text : digestOf(text);
  };
}
