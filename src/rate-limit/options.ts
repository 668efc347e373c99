/** The command line of the rate limit service. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { withUsageErrors } from '../base/usage.js';
import { rateLimiterPort } from '../model/rate-limit.js';
import { otlpUrl, type OtlpOptions } from '../telemetry/otlp/load.js';

export interface RateLimiterOptions extends OtlpOptions {
  /** File with the URL of Redis; absent: the environment variable WEFT_REDIS_URL, then `redis`. */
  readonly redisUrlFile?: string;
  readonly redis: string;
  readonly redisUser?: string;
  readonly redisUserFile?: string;
  readonly redisPasswordFile?: string;
  readonly redisCa?: string;
  readonly redisTimeoutMs: number;
  readonly control: string;
  readonly root: string;
  readonly token: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly listen: string;
  readonly metricsListen: string;
  readonly metricsToken?: string;
}

/** Parses the command line. An invalid argument ends the process, as commander does it. */
export function parseOptions(): RateLimiterOptions {
  const program = new Command('weft rate-limiter')
    .description('run the rate limit service, on Redis or Valkey')
    .option(
      '--redis <url>',
      'redis://HOST:PORT, or rediss:// for TLS. Give a password by WEFT_REDIS_PASSWORD or --redis-password-file',
      'redis://127.0.0.1:6379',
    )
    .option('--redis-url-file <file>', 'file with the URL; it and WEFT_REDIS_URL go before --redis')
    .option('--redis-user <name>', 'user of an ACL')
    .option('--redis-user-file <file>', 'file with the user; one that does not exist is none')
    .option(
      '--redis-password-file <file>',
      'file with the password, read at each connection; one that does not exist is none',
    )
    .option(
      '--redis-ca <file>',
      'certificates that verify the server of a rediss:// URL (PEM); a file that does not exist is none',
    )
    .option('--redis-timeout-ms <ms>', 'time for a reply of Redis', Number, 250)
    .requiredOption('--control <addr:port>', 'address of the control plane')
    .requiredOption('--root <file>', 'root certificates of the control plane (PEM)')
    .requiredOption('--token <file>', 'file of the service account token for the control plane')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--root-namespace <name>', 'namespace of the control plane and of this service', 'weft-system')
    .option('--listen <addr:port>', 'address for waypoints', `0.0.0.0:${rateLimiterPort}`)
    .option('--metrics-listen <addr:port>', 'address for Prometheus and readiness', '0.0.0.0:15020')
    .option(
      '--metrics-token <file>',
      'file of a bearer token: clients outside this pod need it for metrics with names',
    )
    .option(
      '--otlp-metrics-endpoint <url>',
      'OTLP/HTTP collector for metrics, such as http://collector:4318/v1/metrics (default: they are only served)',
      otlpUrl,
    );
  return withUsageErrors(program).parse().opts<RateLimiterOptions>();
}

/** The URL of Redis. Errors: those of reading the file. */
export function redisUrlOf({ redisUrlFile, redis }: RateLimiterOptions): string {
  if (redisUrlFile !== undefined) return readFileSync(redisUrlFile, 'utf8').trim();
  return process.env['WEFT_REDIS_URL'] || redis;
}

/** User, password and roots of Redis, read at each connection. Undefined: the URL's own, or none. Errors: those of reading a file. */
export const redisUserOf = ({ redisUser, redisUserFile }: RateLimiterOptions): string | undefined =>
  redisUser ?? contentOf(redisUserFile);
export const redisPasswordOf = ({ redisPasswordFile }: RateLimiterOptions): string | undefined =>
  contentOf(redisPasswordFile) ?? (process.env['WEFT_REDIS_PASSWORD'] || undefined);
export const redisRootsOf = ({ redisCa }: RateLimiterOptions): string | undefined => contentOf(redisCa);

/** The keys of a Secret are files, and some keys are optional. */
function contentOf(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8').trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
