/** The request that is explained. */
import { errorText, WeftError } from '../../base/errors.js';
import { normalizePath } from '../../policy/path.js';

export interface RequestFlags {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly header?: readonly string[];
  readonly tcp?: boolean;
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

/** Reads the options; undefined: a connection that is not HTTP. Error: WEFT_EXPLAIN_INPUT. */
export function requestOf(flags: RequestFlags): Request | undefined {
  const { method, path, host, header = [], tcp } = flags;
  const isStated = [method, path, host].some((one) => one !== undefined) || header.length > 0;
  if (tcp === true) {
    if (isStated)
      throw wrong(
        '--tcp is a connection without a request: it goes with none of --method, --path, --host, --header',
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
