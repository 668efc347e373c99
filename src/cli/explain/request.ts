/** The request, or the connection without one, that is explained. */
import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { errorText, WeftError } from '../../base/errors.js';
import { normalizePath } from '../../policy/path.js';

export interface RequestFlags {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly header?: readonly string[];
  readonly tcp?: boolean;
  readonly sni?: string;
}

/** A TLS connection, of which nobody reads requests. */
export interface TlsConnection {
  /** The name of which its ClientHello asks for, in the form of the wire. */
  readonly serverName: string;
}

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  /** Whether the caller stated anything of it. */
  readonly isStated: boolean;
  /** The head on the wire. @param host in place of one that is not stated */
  head(host: string): string;
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const wrong = (message: string): WeftError => new WeftError('WEFT_EXPLAIN_INPUT', message);

/** What the client sends first; undefined: neither HTTP nor TLS with a name. */
export type Sent = Request | TlsConnection | undefined;
export const httpOf = (sent: Sent): Request | undefined => (sent && 'head' in sent ? sent : undefined);
export const serverNameOf = (sent: Sent): string | undefined =>
  sent && 'serverName' in sent ? sent.serverName : undefined;

/** Reads the options. Error: WEFT_EXPLAIN_INPUT. */
export function sentOf(flags: RequestFlags): Sent {
  const { sni, ...others } = flags;
  if (sni === undefined) return requestOf(flags);
  requestOf({ ...others, tcp: true });
  const serverName = domainToASCII(sni);
  if (serverName === '' || isIP(serverName) !== 0 || serverName.endsWith('.'))
    throw wrong(`--sni ${JSON.stringify(sni)} is no TLS server name: such as shop.example`);
  return { serverName };
}

/** Reads the options on a request; undefined: a connection that is not HTTP. Error: WEFT_EXPLAIN_INPUT. */
export function requestOf(flags: RequestFlags): Request | undefined {
  const { method, path, host, header = [], tcp } = flags;
  const isStated = [method, path, host].some((one) => one !== undefined) || header.length > 0;
  if (tcp === true) {
    if (isStated)
      throw wrong(
        '--tcp and --sni are a connection without a request: they go with none of --method, --path, --host, --header',
      );
    return undefined;
  }
  const verb = method ?? 'GET';
  if (!token.test(verb)) throw wrong(`--method ${JSON.stringify(verb)} is no HTTP method`);
  const target = path ?? '/';
  if (/[\s\u0000-\u0020\u007f]/.test(target) || !target.startsWith('/'))
    throw wrong(
      `--path ${JSON.stringify(target)} must begin with / and have no spaces: escape them, as clients do`,
    );
  try {
    normalizePath(target);
  } catch (error) {
    throw wrong(`--path ${JSON.stringify(target)}: ${errorText(error)}`);
  }
  if (host !== undefined && !/^[\w.:[\]-]+$/.test(host))
    throw wrong(`--host ${JSON.stringify(host)} is no host`);
  const fields = header.map((one) => {
    const at = one.indexOf(':');
    const [name, value] = [one.slice(0, at).trim(), one.slice(at + 1).trim()];
    if (at < 1 || !token.test(name) || /[\u0000-\u0008\u000a-\u001f\u007f]/.test(value))
      throw wrong(`--header ${JSON.stringify(one)} must be name: value`);
    if (['host', 'content-length', 'transfer-encoding', 'connection'].includes(name.toLowerCase()))
      throw wrong(`--header ${name} cannot be set${name.toLowerCase() === 'host' ? ': use --host' : ''}`);
    return `${name}: ${value}`;
  });
  return {
    method: verb,
    path: target,
    host: host ?? '',
    isStated,
    head: (other) => [`${verb} ${target} HTTP/1.1`, `host: ${host ?? other}`, ...fields, '', ''].join('\r\n'),
  };
}
