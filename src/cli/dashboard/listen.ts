/** Where `weft dashboard` listens. Pure. */
import { isIP } from 'node:net';
import { parseListenAddress, type ListenAddress } from '../../base/listen-address.js';
import { UsageError } from '../../base/usage.js';

const isLoopback = (host: string): boolean => host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));

/**
 * Reads ADDR:PORT. Error: WEFT_DASHBOARD, if it is none, or not on this machine alone.
 * @param isAnyAllowed whether the caller has accepted that the network sees it
 */
export function dashboardAddress(text: string, isAnyAllowed: boolean): ListenAddress {
  const address = parseListenAddress(text);
  const host = address?.host === 'localhost' ? '127.0.0.1' : address?.host;
  if (!address || host === undefined || isIP(host) === 0 || address.port > 65_535)
    throw new UsageError('WEFT_DASHBOARD', `--listen ${text} is not <addr>:<port>, such as 127.0.0.1:8080`);
  if (!isLoopback(host) && !isAnyAllowed)
    throw new UsageError(
      'WEFT_DASHBOARD',
      `--listen ${text} is not an address of this machine alone: the page is served without TLS, so that whoever is on the way reads the token and with it what you may read of the mesh. ` +
        `Forward a port instead (ssh -L 8080:127.0.0.1:8080), or add --insecure-listen`,
    );
  return { host, port: address.port };
}

/** The form of durations has five digits. */
const secondsMax = 99_999;
const sinceText = (ms: number): string => {
  const seconds = Math.ceil(ms / 1_000);
  return seconds % 60 !== 0 && seconds <= secondsMax ? `${seconds}s` : `${Math.ceil(seconds / 60)}m`;
};

/**
 * The URL to open. Browsers do not send what is after `#`.
 * @param sinceMs the window that the page begins with, if it is not the page's own
 */
export const urlOf = (host: string, port: number, token: string, sinceMs?: number): string => {
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}/#token=${token}${sinceMs === undefined ? '' : `&since=${sinceText(sinceMs)}`}`;
};
