/** URLs of Redis, which may have a password. */
import { WeftError } from '../base/errors.js';

/** `redis://host:port`, without user and password. */
export function redisAddress(url: string): string {
  try {
    const { protocol, host } = new URL(url);
    return `${protocol}//${host}`;
  } catch {
    return 'an invalid URL';
  }
}

/** Checks a URL. Error: WEFT_RATE_LIMIT_REDIS_URL. */
export function checkRedisUrl(url: string): void {
  let protocol = '';
  try {
    ({ protocol } = new URL(url));
  } catch {
    // The message must not repeat the URL: it may have a password.
  }
  if (protocol !== 'redis:' && protocol !== 'rediss:')
    throw new WeftError(
      'WEFT_RATE_LIMIT_REDIS_URL',
      'the URL of Redis is not redis://HOST:PORT or rediss://HOST:PORT',
    );
}
