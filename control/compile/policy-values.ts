/**
 * Converts values of an AccessPolicy to the form in which attributes of connections and requests are compared. Pure. Errors name the field,
 * the value, and why no connection or request could have it.
 */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { errorText } from '../../src/base/errors.js';
import { parseCidr, type Cidr } from '../../src/model/address.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import type { StringMatch } from '../../src/model/policy.js';
import { normalizeAuthority, serverNameCharacters } from '../../src/policy/host.js';

const wrong = (field: string, value: string, why: string): Error =>
  new Error(`${field}: ${JSON.stringify(value)}: ${why}`);

/** `*` alone matches any present value. `*` at one end makes a prefix or suffix match. */
export function textMatch(field: string, bare: string): StringMatch {
  if (bare === '*') return { kind: 'presence' };
  if (bare.replace(/^\*|\*$/, '').includes('*')) throw wrong(field, bare, '* is allowed only at one end');
  if (bare.endsWith('*')) return { kind: 'prefix', value: bare.slice(0, -1) };
  if (bare.startsWith('*')) return { kind: 'suffix', value: bare.slice(1) };
  return { kind: 'exact', value: bare };
}

/** A SPIFFE ID with or without `spiffe://`; trust domains are in lower case (SPIFFE-ID specification, section 2.1). */
export function identityMatch(field: string, given: string): StringMatch {
  const bare = given.replace(/^spiffe:\/\//i, '');
  const at = bare.indexOf('/');
  const domain = at < 0 ? bare : bare.slice(0, at);
  const match = textMatch(
    field,
    bare.startsWith('*') ? bare : domain.toLowerCase() + bare.slice(domain.length),
  );
  if (match.kind === 'presence') return match;
  if (match.kind === 'exact') {
    try {
      parseSpiffeId(`spiffe://${match.value}`);
    } catch (error) {
      throw wrong(field, given, errorText(error));
    }
  } else if (!/^[A-Za-z0-9._/-]*$/.test(match.value) || match.value.includes('//'))
    throw wrong(field, given, 'no SPIFFE ID has such a part');
  return match;
}

export function namespaceMatch(field: string, given: string): StringMatch {
  const match = textMatch(field, given);
  if (match.kind === 'presence') return match;
  const form = match.kind === 'exact' ? /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/ : /^[a-z0-9-]*$/;
  if (!form.test(match.value)) throw wrong(field, given, 'no namespace has such a name');
  return match;
}

export function accountMatch(
  field: string,
  given: string,
): { readonly namespace: string; readonly serviceAccount: string } {
  const [namespace = '', serviceAccount = ''] = given.split('/');
  namespaceMatch(field, namespace);
  return { namespace, serviceAccount };
}

const isAscii = (text: string): boolean => /^[\x20-\x7e]*$/.test(text);
/** A host name as clients send it: labels with non-ASCII characters in punycode (RFC 5891); undefined if a label has no such form. */
function punycode(text: string): string | undefined {
  const labels = text.split('.').map((label) => (isAscii(label) ? label : domainToASCII(label)));
  return labels.some((label, i) => label === '' && text.split('.')[i] !== '') ? undefined : labels.join('.');
}

/** A host without port, in lower case and without the final dot of a fully qualified name. */
export function hostMatch(field: string, given: string): StringMatch {
  if (/(^|[^:]):\d+$/.test(given)) throw wrong(field, given, 'write the host without its port');
  const match = textMatch(field, given);
  if (match.kind === 'presence') return match;
  if (match.kind === 'prefix' && !isAscii(match.value.split('.').at(-1) ?? ''))
    throw wrong(
      field,
      given,
      'a partial label with non-ASCII characters cannot be compared: write it in punycode',
    );
  const ascii = punycode(match.value)?.toLowerCase();
  const value = match.kind === 'prefix' ? ascii : ascii?.replace(/\.+$/, '');
  if (value === undefined || value === '') throw wrong(field, given, 'no host has such a name');
  if (match.kind === 'exact' && given.startsWith('[')) {
    try {
      return { kind: 'exact', value: normalizeAuthority(value) };
    } catch (error) {
      throw wrong(field, given, errorText(error));
    }
  }
  if (!/^[a-z0-9._~!$&'()*+,;=[\]:-]+$/.test(value) || (match.kind === 'exact' && /[[\]:]/.test(value)))
    throw wrong(field, given, 'no request can have such a host (write an IPv6 address in brackets)');
  return { kind: match.kind, value };
}

/** A name as in a TLS ClientHello: a DNS name without a final dot (RFC 6066, section 3). */
export function serverNameMatch(field: string, given: string): StringMatch {
  const match = hostMatch(field, given);
  if (match.kind === 'presence') return match;
  if (match.kind === 'exact' && isIP(match.value) !== 0)
    throw wrong(field, given, 'no ClientHello names an address');
  if (!serverNameCharacters.test(match.value))
    throw wrong(field, given, 'no ClientHello has such a server name');
  return match;
}

/**
 * A header value. Values are compared as bytes, without surrounding whitespace.
 * @param name of the header, in lower case
 */
export function headerMatch(field: string, name: string, given: string): StringMatch {
  const match = textMatch(field, given);
  if (match.kind === 'presence') return match;
  const { kind, value } = match;
  if (/[\0-\x08\x0a-\x1f\x7f]/.test(value))
    throw wrong(field, given, 'a header value has no control characters');
  const trimmed = kind === 'prefix' ? value.trimStart() : kind === 'suffix' ? value.trimEnd() : value.trim();
  if (trimmed !== value)
    throw wrong(field, given, 'header values are compared without surrounding whitespace: remove it');
  // The host header is compared in the form of `hosts`, but with its port if the client sent one.
  if (name === 'host')
    return { kind, value: value.toLowerCase().replace(kind === 'prefix' ? /$^/ : /\.+(?=:|$)/, '') };
  // Header values are read byte by byte.
  return { kind, value: Buffer.from(value, 'utf8').toString('latin1') };
}

/** Parses a CIDR; of `10.0.0.5/8` only the first 8 bits count, as usual. */
export const cidrBlock =
  (field: string) =>
  (text: string): Cidr => {
    try {
      return parseCidr(text);
    } catch (error) {
      throw new Error(`${field}: ${errorText(error)}`, { cause: error });
    }
  };
