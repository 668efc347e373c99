/** The addresses of programs' command lines. */

/** Where a program listens. `host` has no brackets. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Reads ADDR:PORT; an IPv6 address may be in brackets, and the address may be empty. Undefined: the text has another form. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, host = '', port] = /^(.*):(\d+)$/.exec(text) ?? [];
  return port === undefined ? undefined : { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}
