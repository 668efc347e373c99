/**
 * The rate limit service: counts for all waypoints in Redis or Valkey (docs/global-rate-limits.md). It keeps no state of its own, so any
 * number of replicas may run.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { pino } from 'pino';
import { systemClock } from '../base/clock.js';
import { errorText, WeftError } from '../base/errors.js';
import { parseListenAddress } from '../base/listen-address.js';
import { RateLimiter } from '../base/rate-limiter.js';
import { createCertificateClient } from '../discovery/certificate-client.js';
import { DiscoveryClient } from '../discovery/client.js';
import { decodeTrust, decodeWaypoint } from '../discovery/codec/node-pod.js';
import { keepOr, subscribe } from '../discovery/subscription.js';
import { typeUrls } from '../discovery/types.js';
import { parseTrustDomain } from '../model/identity.js';
import { rateLimiterIdentity } from '../model/rate-limit.js';
import { metricsText } from '../telemetry/exposition.js';
import { countLostTelemetry, exportMetrics } from '../telemetry/otlp/load.js';
import { programMetrics } from '../telemetry/program-metrics.js';
import { serveRoutes, tokenIn } from '../telemetry/servers.js';
import { CertificateManager, ownKeys } from '../tls/certificate-manager.js';
import type { Svid } from '../tls/svid.js';
import { Counters } from './counters.js';
import { RateLimiterMetrics } from './metrics.js';
import {
  parseOptions,
  redisPasswordOf,
  redisRootsOf,
  redisUrlOf,
  redisUserOf,
  type RateLimiterOptions,
} from './options.js';
import { RedisConnection } from './redis.js';
import { checkRedisUrl, redisAddress } from './redis-url.js';
import { RateLimitServer } from './server.js';

const certificateTtlS = 86_400;
const tickMs = 1_000;
const refusalLineRate = { perSecond: 1, burst: 20 } as const;

async function runRateLimiter(options: RateLimiterOptions): Promise<{ stop(): Promise<void> }> {
  const log = pino({ name: 'weft-rate-limiter' }, pino.destination(2));
  const url = redisUrlOf(options);
  checkRedisUrl(url);
  const trustDomain = parseTrustDomain(options.trustDomain);
  const identity = rateLimiterIdentity(trustDomain, options.rootNamespace);
  const rootPem = (): string => readFileSync(options.root, 'utf8');
  const token = (): string => readFileSync(options.token, 'utf8').trim();
  const metrics = new RateLimiterMetrics();
  const onLimit = (limit: string): void => metrics.limitReached.inc({ limit });

  const redis = new RedisConnection({
    url,
    username: () => redisUserOf(options),
    password: () => redisPasswordOf(options),
    ca: () => redisRootsOf(options),
    replyMsMax: options.redisTimeoutMs,
    onState: (isUp, why) => {
      metrics.redisUp.set(isUp ? 1 : 0);
      if (isUp) log.info({ redis: redisAddress(url) }, 'Redis connected');
      else
        log.warn({ redis: redisAddress(url), why }, 'no connection to Redis: calls fail until there is one');
    },
  });
  const counters = new Counters({
    call: (command) => redis.call(command),
    onBatch: (keys, seconds, ok) => {
      metrics.batch.observe(keys);
      metrics.redisCalls.observe({ result: ok ? 'ok' : 'error' }, seconds);
    },
  });

  const waypoints = new Set<string>();
  const refusalLines = new RateLimiter(refusalLineRate);
  let server: RateLimitServer | undefined;
  let synced = false;
  let stopping = false;
  let control = 'no attempt yet';
  let isConnected = false;
  const serve = async (svid: Svid): Promise<void> => {
    if (server) return server.present(svid);
    server = new RateLimitServer(
      {
        listen: options.listen,
        trustDomain,
        counters,
        isWaypoint: ({ namespace, serviceAccount }) => waypoints.has(`${namespace}/${serviceAccount}`),
        onRefused: (reason, peer) => {
          metrics.refused.inc({ reason });
          if (refusalLines.take('')) log.warn({ reason, peer }, 'a call was refused');
        },
        onLimit,
        onCounted: (result, count) => metrics.counted.inc({ result }, count),
      },
      svid,
    );
    const port = await server.listen();
    log.info({ port, identity }, 'listening');
  };
  let certificate: Svid | undefined;
  const present = (): void => {
    // Before the waypoints are known, every call would be refused.
    if (!certificate || !synced || stopping) return;
    serve(certificate).catch((error: unknown) => {
      log.error({ error: errorText(error) }, 'cannot listen');
      process.exit(1);
    });
  };
  const certificates = new CertificateManager({
    keys: ownKeys,
    issue: createCertificateClient({ target: options.control, rootPem, token }),
    clock: systemClock,
    random: Math.random,
    ttlS: certificateTtlS,
    onSvid: (svid) => {
      log.info({ identity, serial: svid.serial }, 'certificate issued');
      certificate = svid;
      present();
    },
    onError: (_id, error, retryInMs) => log.warn({ error: errorText(error), retryInMs }, 'no certificate'),
  });

  let trust: string | undefined;
  const discovery = new DiscoveryClient({
    target: options.control,
    rootPem,
    token,
    nodeId: `rate-limiter~${hostname()}`,
    nodeName: '',
    subscriptions: [
      subscribe(
        typeUrls.waypoint,
        keepOr(decodeWaypoint),
        (name) => void waypoints.add(name),
        (names) => names.forEach((name) => waypoints.delete(name)),
      ),
      subscribe(
        typeUrls.trust,
        keepOr(decodeTrust),
        (version) => {
          if (trust !== undefined && trust !== version) certificates.refreshAll();
          trust = version;
        },
        () => undefined,
      ),
    ],
    onChange: () => undefined,
    onSynced: () => {
      synced = true;
      log.info({ waypoints: waypoints.size }, 'synced');
      present();
    },
    onState: (state, why) => {
      control = `${state}: ${why}`;
      isConnected = state === 'connected';
      log[state === 'connected' ? 'info' : 'warn']({ why }, `control plane ${state}`);
    },
    onRefused: (typeUrl, errors) => log.error({ typeUrl, errors }, 'a resource was rejected'),
    clock: systemClock,
  });

  const notReady = (): string | undefined => {
    if (stopping) return 'the service is shutting down';
    if (!synced) return `control plane ${control}`;
    if (!server) return 'no certificate yet';
    return redis.isUp ? undefined : 'no connection to Redis';
  };
  programMetrics(metrics.registry, {
    isConnected: () => isConnected,
    certificates: () => (certificate ? [certificate.notAfterMs] : []),
  });
  const admin = await serveAt(options, metrics, notReady);
  const metricExport = await exportMetrics(options.otlpMetricsEndpoint, {
    program: { service: 'weft-rate-limiter', namespace: options.rootNamespace },
    read: () => metrics.registry.getMetricsAsJSON(),
    lost: countLostTelemetry(metrics.registry),
  });
  certificates.want(new Set([identity]));
  const ticks = setInterval(() => certificates.tick(), tickMs);
  discovery.start();
  return {
    stop: async () => {
      stopping = true;
      clearInterval(ticks);
      discovery.stop();
      certificates.stop();
      await server?.stop();
      redis.stop();
      await metricExport?.stop();
      await admin.close();
    },
  };
}

function serveAt(
  { metricsListen, metricsToken }: RateLimiterOptions,
  { registry }: RateLimiterMetrics,
  notReady: () => string | undefined,
): ReturnType<typeof serveRoutes> {
  const address = parseListenAddress(metricsListen);
  if (!address) throw new WeftError('WEFT_LISTEN', `${metricsListen} is not <addr>:<port>`);
  const routes = {
    '/metrics': {
      contentType: registry.contentType,
      read: ({ trusted }: { readonly trusted: boolean }) => metricsText(registry, trusted),
    },
    '/healthz/ready': {
      contentType: 'text/plain',
      // Only clients of this pod see the reason.
      read: ({ trusted }: { readonly trusted: boolean }): string => {
        const why = notReady();
        if (why === undefined) return 'ready\n';
        return trusted ? `not ready: ${why}\n` : 'not ready\n';
      },
      status: () => (notReady() === undefined ? 200 : 503),
    },
  };
  return serveRoutes(address.host, address.port, routes, { token: tokenIn(metricsToken) });
}

async function main(): Promise<void> {
  const service = await runRateLimiter(parseOptions());
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      void service.stop().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`)
  main().catch((error: unknown) => {
    process.stderr.write(`${errorText(error)}\n`);
    process.exit(1);
  });
