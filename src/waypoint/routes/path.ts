/**
 * A request's target, read once: what is matched here is what goes on to the endpoint, so that no two readers of the path differ
 * in what a proxy can know. RFC 9112, section 3.2; RFC 3986, section 6.2.2.
 */

export class TargetError extends Error {}

export interface Target {
  /** host[:port] in lower case, without final dots. */
  readonly authority: string;
  /** Normalised path, and the query as it came. */
  readonly path: string;
}

/** Without percent signs: an escape would name to an endpoint what nobody compared it with. */
const hostPattern = /^(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9._~!$&'()*+,;=-]*)(?::\d{0,5})?$/;

export function normaliseAuthority(text: string): string {
  if (!hostPattern.test(text)) throw new TargetError('the host cannot be read');
  const lower = text.toLowerCase();
  return lower.replace(/\.+(?=:|$)/, '');
}

/** Throws TargetError. `host`: of the header, which a target in absolute form outweighs. */
export function parseTarget(method: string, target: string, host: string | undefined): Target {
  if (method === 'CONNECT') throw new TargetError('CONNECT is for proxies that are asked by name');
  if (target.charCodeAt(0) === 0x2f) return { authority: authorityOf(host), path: normalisePath(target) };
  if (target === '*') {
    if (method !== 'OPTIONS') throw new TargetError('* is a target of OPTIONS alone');
    return { authority: authorityOf(host), path: '*' };
  }
  const match = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
  if (!match) throw new TargetError('the target is neither a path nor a URL');
  const rest = match[2] ?? '';
  if ((match[1] ?? '').includes('@')) throw new TargetError('the target names a user');
  return {
    authority: authorityOf(match[1]),
    path: normalisePath(rest.startsWith('/') ? rest : `/${rest}`),
  };
}

const authorities = new Map<string, string>();
function authorityOf(host: string | undefined): string {
  if (host === undefined) return '';
  let known = authorities.get(host);
  if (known === undefined) {
    known = normaliseAuthority(host);
    if (authorities.size >= 4096) authorities.clear();
    if (host.length <= 256) authorities.set(host, known);
  }
  return known;
}

/** Most paths: nothing in them means anything else. */
const plainPath = /^(?:\/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)*\/?(?:\?|$)/;

/**
 * Percent-encoded unreserved characters are decoded, other escapes written in upper case, dot segments taken out, slashes that
 * follow each other made one. Escapes of reserved characters (%2F among them) stay: they may mean something to the endpoint;
 * `readingsOf` is for those who judge. Throws TargetError for what no endpoint should ever see.
 */
export function normalisePath(target: string): string {
  if (plainPath.test(target)) return target;
  const at = target.indexOf('?');
  const path = at < 0 ? target : target.slice(0, at);
  const query = at < 0 ? '' : target.slice(at);
  if (path.includes('\\')) throw new TargetError('a backslash in the path');
  const decoded = path.replace(/%([0-9a-fA-F]{2})?/g, (escape: string, digits: string | undefined) => {
    if (digits === undefined) throw new TargetError('a percent sign that escapes nothing');
    const code = parseInt(digits, 16);
    if (code === 0) throw new TargetError('an escaped NUL in the path');
    const character = String.fromCharCode(code);
    return /[A-Za-z0-9._~-]/.test(character) ? character : escape.toUpperCase();
  });
  return removeDots(decoded) + query;
}

function removeDots(path: string, mergeSlashes = true): string {
  const out: string[] = [];
  const segments = path.split('/');
  segments.forEach((segment, i) => {
    const isLast = i === segments.length - 1;
    if (segment === '.' || (segment === '' && (mergeSlashes || i === 0))) {
      if (isLast) out.push('');
    } else if (segment === '..') {
      out.pop();
      if (isLast) out.push('');
    } else out.push(segment);
  });
  return `/${out.join('/')}`;
}

/** Of path and query: the path. */
export function pathOf(path: string): string {
  const at = path.indexOf('?');
  return at < 0 ? path : path.slice(0, at);
}

const decodingsMax = 4;

const decodedOnce = (path: string): string =>
  path.replace(/%([0-9a-fA-F]{2})/g, (_escape, digits: string) => String.fromCharCode(parseInt(digits, 16)));
const withoutParameters = (path: string): string => path.replace(/;[^/]*/g, '');

/**
 * The ways in which endpoints may read a normalised path: as it is; with its escapes decoded, also those that were escaped twice;
 * without the parameters (`;x=1`) of its segments, taken away before the decoding or after it; dot segments taken out after
 * each decoding or after the last; with slashes that follow each other made one or not. A rule that denies has to hold for none
 * of them, one that allows for all. Their number is bounded, whatever the path.
 */
export function readingsOf(path: string): readonly string[] {
  if (!path.includes('%') && !path.includes(';')) return [path];
  const found = new Set([path]);
  const read = (text: string): void => {
    const slashes = text.replace(/\\/g, '/');
    const short = removeDots(slashes);
    found.add(short).add(removeDots(slashes, false));
    if (!slashes.includes(';')) return;
    const bare = withoutParameters(slashes);
    found
      .add(removeDots(bare))
      .add(removeDots(bare, false))
      .add(removeDots(withoutParameters(short)));
  };
  const bare = withoutParameters(path);
  for (const from of new Set([path, bare, removeDots(bare)])) {
    for (const eager of [false, true]) {
      let text = from;
      read(text);
      for (let round = 0; round < decodingsMax && text.includes('%'); round++) {
        const next = decodedOnce(text);
        if (next === text) break;
        text = eager ? removeDots(next) : next;
        read(text);
      }
    }
  }
  return [...found];
}
