/**
 * What an observed call may have been in full. Edges have templates of paths, and neither headers nor hosts; so a policy is evaluated for each
 * variant that it could distinguish. Pure.
 */
import type { Cidr, IpAddress } from '../../model/address.js';
import { parseIp } from '../../model/address.js';
import { otherName } from '../../model/edge.js';
import type { AuthorizationPolicy, PolicyPath, StringMatch } from '../../model/policy.js';
import type { HttpAttributes } from '../../policy/authorize.js';
import { readingsOf } from '../../policy/path.js';
import { pathTemplate } from '../../telemetry/path-template.js';

/** What the policies of a destination distinguish. */
export interface Distinctions {
  readonly blocks: readonly Cidr[];
  readonly paths: readonly PolicyPath[];
  readonly hosts: readonly StringMatch[];
  readonly methods: readonly string[];
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  /** Regular expressions and query parameters: no example of what they match is known. */
  readonly isOpaque: boolean;
  /** Server names of TLS: an example of each that policies name, and another one. Empty: policies do not compare them. */
  readonly serverNames: readonly string[];
}

/** What some policies distinguish, all together. */
export function distinctionsOf(policies: Iterable<AuthorizationPolicy>): Distinctions {
  const blocks: Cidr[] = [];
  const paths: PolicyPath[] = [];
  const hosts: StringMatch[] = [];
  const methods = new Set<string>();
  const headers = new Map<string, string>();
  const serverNames = new Set<string>();
  let isOpaque = false;
  for (const { rules } of policies)
    for (const { clauses } of rules)
      for (const { matches } of clauses)
        for (const { sourceIps, notSourceIps, http, tls } of matches) {
          blocks.push(...sourceIps, ...notSourceIps);
          for (const one of tls ? [...tls.serverNames, ...tls.notServerNames] : [])
            serverNames.add(exampleOf(one));
          if (tls) serverNames.add(anyServerName);
          if (!http) continue;
          paths.push(...http.paths, ...http.notPaths);
          hosts.push(...http.hosts, ...http.notHosts);
          for (const one of [...http.methods, ...http.notMethods]) methods.add(one);
          if ((http.parameters ?? []).length > 0) isOpaque = true;
          for (const { name, values } of http.headers)
            for (const value of values) {
              if (value.kind === 'regex') isOpaque = true;
              else if (!headers.has(name)) headers.set(name, exampleOf(value));
            }
        }
  if (paths.some(({ kind }) => kind === 'regex')) isOpaque = true;
  return {
    blocks,
    paths,
    hosts,
    methods: [...methods],
    headers: [...headers].map(([name, value]) => ({ name, value })),
    isOpaque,
    serverNames: [...serverNames],
  };
}

const exampleOf = (match: StringMatch): string =>
  match.kind === 'presence' ? 'x' : match.kind === 'suffix' ? `x${match.value}` : match.value;

/** A server name that no policy has. */
const anyServerName = 'any.invalid';
/** An identifier that no policy has. */
const anyId = '7d1f0c93e2b84a65';
const variantsMax = 64;

interface Variants<T> {
  readonly all: readonly T[];
  /** There are more than these. */
  readonly isPartial: boolean;
}

const bounded = <T>(all: readonly T[]): Variants<T> => ({
  all: all.slice(0, variantsMax),
  isPartial: all.length > variantsMax,
});

const fill = (segments: readonly string[]): string =>
  `/${segments.map((one) => (one === '*' || one === '**' ? anyId : one)).join('/')}`;

/** The segment for what policy and template both have there; undefined: no segment is both. */
const both = (wanted: string, seen: string): string | undefined =>
  wanted === '*' || wanted === '**' ? seen : seen === '*' || seen === wanted ? wanted : undefined;

/** Paths that could have the template and that a policy's path was written for. */
function instancesOf(path: PolicyPath, template: string): string[] {
  if (path.kind === 'regex') return [];
  const seen = template.slice(1).split('/');
  const isOpen = seen.at(-1) === '**';
  const at = (i: number): string | undefined =>
    i < seen.length - (isOpen ? 1 : 0) ? seen[i] : isOpen ? '*' : undefined;
  if (path.kind === 'suffix') {
    const last = path.value.slice(path.value.lastIndexOf('/') + 1);
    const wanted = path.value.includes('/') ? path.value.split('/').slice(1) : [];
    const head = seen.slice(0, Math.max(0, seen.length - Math.max(1, wanted.length)));
    const tail = wanted.length > 0 ? wanted : [`${anyId}${last}`];
    return [fill([...head, ...tail])];
  }
  const wanted = path.kind === 'template' ? path.segments : path.value.slice(1).split('/');
  const segments: string[] = [];
  for (const [i, one] of wanted.entries()) {
    const isLast = i === wanted.length - 1;
    const there = at(i);
    if (there === undefined) return [];
    if (path.kind === 'prefix' && isLast) {
      segments.push(there === '*' ? `${one}${anyId}` : there);
      break;
    }
    const segment = both(one, there);
    if (segment === undefined) return [];
    segments.push(segment);
  }
  const rest = path.kind === 'exact' ? [] : seen.slice(segments.length);
  const text = fill([...segments, ...rest]);
  return path.kind === 'exact' && isOpen ? [text, `${text}/${anyId}`] : [text];
}

/** Whether a path has the segments of a template. */
function fits(path: string, template: string): boolean {
  const [have, want] = [path.slice(1).split('/'), template.slice(1).split('/')];
  const isOpen = want.at(-1) === '**';
  if (isOpen ? have.length < want.length : have.length !== want.length) return false;
  return want.every((one, i) => one === '**' || (one === '*' ? have[i] !== '' : have[i] === one));
}

/** @param template `any`: the path is not known */
function pathVariants(template: string, paths: readonly PolicyPath[]): Variants<string> {
  // What is no path, such as that of OPTIONS *.
  if (template === '**') return { all: ['*'], isPartial: false };
  if (template === 'any')
    return bounded([...new Set([`/${anyId}`, ...paths.flatMap((one) => instancesOf(one, '/**'))])]);
  const filled = fill(template.slice(1).split('/'));
  // Without a wildcard the template is the path.
  if (!template.includes('*')) return { all: [filled], isPartial: false };
  // A wildcard stands for what looks like an identifier, so that `/orders/new` is not `/orders/*`.
  const isOurs = pathTemplate(filled) === template;
  const isSeen = (path: string): boolean => (isOurs ? pathTemplate(path) === template : fits(path, template));
  return bounded([
    ...new Set([filled, ...paths.flatMap((one) => instancesOf(one, template)).filter(isSeen)]),
  ]);
}

/** Path variants with their readings, by what policies distinguish and by template: thousands of calls share both. */
const known = new WeakMap<readonly PolicyPath[], Map<string, Variants<readonly string[]>>>();
const knownMax = 10_000;
function knownPathVariants(template: string, paths: readonly PolicyPath[]): Variants<readonly string[]> {
  let byTemplate = known.get(paths);
  if (!byTemplate) known.set(paths, (byTemplate = new Map()));
  let found = byTemplate.get(template);
  if (!found) {
    const { all, isPartial } = pathVariants(template, paths);
    if (byTemplate.size >= knownMax) byTemplate.clear();
    byTemplate.set(template, (found = { all: all.map(readingsOf), isPartial }));
  }
  return found;
}

/** An address of the blocks for documentation (RFC 5737), which no policy names: for clients without a known address. */
export const anywhere = parseIp('192.0.2.1');

/** @param known addresses of the client's pods */
export const ipVariants = (known: readonly IpAddress[], blocks: readonly Cidr[]): Variants<IpAddress> =>
  known.length > 0 || blocks.length === 0
    ? bounded(known.length > 0 && blocks.length > 0 ? known : [known[0] ?? anywhere])
    : bounded([...new Set([anywhere, ...blocks.map(({ ip }) => ip)])]);

export interface SeenRequest {
  /** `other`, or empty: unknown. */
  readonly method: string;
  /** `other`, or empty: unknown. */
  readonly pathTemplate: string;
  readonly host: string;
}

/** A method that no policy has. */
const anyMethod = 'X-OTHER';

/** Requests that look like the observed one and that policies may tell apart. */
export function requestVariants(seen: SeenRequest, distinctions: Distinctions): Variants<HttpAttributes> {
  const { paths, hosts, methods, headers } = distinctions;
  const isKnown = (text: string): boolean => text !== '' && text !== otherName;
  const methodList = isKnown(seen.method) ? [seen.method] : [anyMethod, ...methods];
  const template = isKnown(seen.pathTemplate) ? seen.pathTemplate : 'any';
  const pathList = knownPathVariants(template, paths);
  const hostList = [...new Set([seen.host, ...hosts.map(exampleOf)])];
  const headerList = headers.length === 0 ? [false] : [false, true];
  const all: HttpAttributes[] = [];
  for (const method of methodList)
    for (const path of pathList.all)
      for (const host of hostList)
        for (const hasHeaders of headerList) {
          if (all.length === variantsMax) return { all, isPartial: true };
          all.push({
            method,
            host,
            paths: path,
            header: (name) =>
              name === 'host'
                ? host
                : hasHeaders
                  ? headers.find((one) => one.name === name)?.value
                  : undefined,
          });
        }
  return { all, isPartial: pathList.isPartial };
}
