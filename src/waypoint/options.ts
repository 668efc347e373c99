/** The command line of a waypoint. */
import { availableParallelism, hostname } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { rootNamespaceText } from '../base/option-texts.js';
import { withUsageErrors } from '../base/usage.js';
import { isTrustedProxies } from '../model/waypoint-settings.js';
import { timerMsMax } from '../model/duration.js';
import { parseTrustDomain } from '../model/identity.js';
import { rateLimiterIdentity } from '../model/rate-limit.js';
import { otlpUrl, type OtlpLogOptions } from '../telemetry/otlp/load.js';
import { clocksOf } from './limits.js';
import type { AccessLogMode } from './telemetry/access-log.js';
import type { WorkerSettings } from './worker/worker-ipc.js';

export interface WaypointOptions extends OtlpLogOptions {
  /** `<namespace>/<name>` of the Gateway. */
  readonly gateway: string;
  readonly serviceAccount?: string;
  readonly node: string;
  readonly control: string;
  readonly root: string;
  readonly token: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly listen?: string;
  readonly port: number;
  readonly workers: number;
  /** A file with a bearer token: clients outside this pod that present it may read metrics with names. */
  readonly metricsToken?: string;
  /** Address for Prometheus and readiness; `/status` and `/dump` are served at the admin address only. */
  readonly metricsListen: string;
  readonly adminListen: string;
  readonly accessLog: string;
  readonly accessLogMode: AccessLogMode;
  readonly accessLogTemplate?: string;
  /** `host:port` of Weft's rate limit service; absent: there is none. */
  readonly rateLimiter?: string;
  /** Directory with a directory for each Secret of type kubernetes.io/tls; absent: no client certificate is shown. */
  readonly clientCertificates?: string;
  /** URL of an OTLP/HTTP collector for spans; absent: no spans are made. */
  readonly otlpEndpoint?: string;
  readonly traceSampling: number;
  /** Milliseconds; 0: no limit. Absent: the default (limits.ts). */
  readonly requestHeadTimeoutMs?: number;
  readonly requestBodyIdleTimeoutMs?: number;
  readonly streamIdleTimeoutMs?: number;
  readonly connectionIdleTimeoutMs?: number;
  /** Whether consecutive slashes in paths are merged; absent: they are. */
  readonly mergeSlashes?: 'enabled' | 'disabled';
  readonly trustedProxies: number;
  readonly drainMs: number;
  /** Milliseconds from the signal to the end of the listener: until then clients may not know yet that this waypoint is ending. */
  readonly drainDelayMs: number;
}

/** Parses the command line. An invalid argument ends the process, as commander does it. */
export function parseOptions(): WaypointOptions {
  const program = new Command('weft waypoint-proxy')
    .description('run a waypoint')
    .requiredOption('--gateway <ns/name>', 'the Gateway of this waypoint')
    .option('--service-account <name>', "service account of the waypoint (default: the Gateway's name)")
    .option('--node <name>', 'the node of the waypoint', '')
    .requiredOption('--control <addr:port>', 'address of the control plane')
    .requiredOption('--root <file>', 'root certificates of the control plane (PEM)')
    .requiredOption('--token <file>', 'file of the service account token for the control plane')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--root-namespace <name>', rootNamespaceText, 'weft-system')
    .option('--listen <addr>', 'address for tunnels (default: all addresses)')
    .option('--port <port>', 'port for tunnels', Number, 15008)
    .option(
      '--workers <n>',
      'worker processes, which share the port; one per core',
      Number,
      availableParallelism(),
    )
    .option('--metrics-listen <addr:port>', 'address for Prometheus and readiness', '0.0.0.0:15020')
    .option(
      '--metrics-token <file>',
      'file of a bearer token: clients outside this pod need it for metrics with names',
    )
    .option('--admin-listen <addr:port>', 'address for weft status and weft dump', '127.0.0.1:15000')
    .option('--access-log <file>', 'file of the access log; - is standard output', '-')
    .addOption(
      new Option('--access-log-mode <which>', 'which requests are logged')
        .choices(['none', 'errors', 'all'])
        .default('errors'),
    )
    .option('--access-log-template <text>', 'format of a line, with %FIELD% for fields (default: JSON)')
    .option('--rate-limiter <addr:port>', "address of Weft's rate limit service (default: there is none)")
    .option(
      '--client-certificates <dir>',
      'directory with a directory for each client certificate (tls.crt, tls.key) that policies name (default: none)',
    )
    .option(
      '--otlp-endpoint <url>',
      'OTLP/HTTP collector for spans, such as http://collector:4318/v1/traces (default: no spans)',
      otlpUrl,
    )
    .option(
      '--otlp-metrics-endpoint <url>',
      'OTLP/HTTP collector for metrics, such as http://collector:4318/v1/metrics (default: they are only served)',
      otlpUrl,
    )
    .option(
      '--otlp-logs-endpoint <url>',
      'OTLP/HTTP collector for the requests of the access log, such as http://collector:4318/v1/logs (default: only the file)',
      otlpUrl,
    )
    .option(
      '--trace-sampling <share>',
      'share of requests that are traced where the client did not decide, 0 to 1',
      Number,
      0.01,
    )
    .option(
      '--request-head-timeout-ms <ms>',
      "time to receive a request's head (default: 15 s); 0: no limit",
      milliseconds,
    )
    .option(
      '--request-body-idle-timeout-ms <ms>',
      "time without a byte of a request's body (default: 60 s); 0: no limit",
      milliseconds,
    )
    .option(
      '--stream-idle-timeout-ms <ms>',
      'time of a request without a byte in either direction (default: 5 min, 1 h once its response has begun); 0: no limit',
      milliseconds,
    )
    .option(
      '--connection-idle-timeout-ms <ms>',
      'time of a connection without a request (default: 1 h); 0: no limit',
      milliseconds,
    )
    .addOption(
      new Option('--merge-slashes <which>', 'disabled: keep // in paths as the client sent it')
        .choices(['enabled', 'disabled'])
        .default('enabled'),
    )
    .option(
      '--trusted-proxies <n>',
      "proxies ahead of the waypoint whose word about the client's address counts (x-forwarded-for)",
      trustedProxies,
      0,
    )
    .option('--drain-ms <ms>', 'time for requests under way to end after SIGTERM', Number, 30_000)
    .option('--drain-delay-ms <ms>', 'time from SIGTERM until new connections are refused', Number, 2_000);
  return withUsageErrors(program).parse().opts<WaypointOptions>();
}

/** The settings of workers. `self`: the waypoint's own Service; `namespace` and `name`: of its Gateway. */
export function settingsOf(
  options: WaypointOptions,
  trustDomain: string,
  self: string,
  namespace: string,
  name: string,
): WorkerSettings {
  const { otlpEndpoint: endpoint, traceSampling: sampling } = options;
  return {
    node: options.node,
    self,
    trustDomain,
    host: options.listen,
    port: options.port,
    accessLog: options.accessLog,
    accessLogMode: options.accessLogMode,
    accessLogTemplate: options.accessLogTemplate,
    rateLimiter:
      options.rateLimiter === undefined
        ? undefined
        : {
            target: options.rateLimiter,
            identity: rateLimiterIdentity(parseTrustDomain(trustDomain), options.rootNamespace),
          },
    tracing: endpoint === undefined ? undefined : { endpoint, sampling, serviceName: name, namespace },
    logs: options.otlpLogsEndpoint,
    program: { service: name, namespace, instance: hostname() },
    limits: clocksOf(options),
    mergeSlashes: options.mergeSlashes !== 'disabled',
    trustedProxies: options.trustedProxies,
  };
}

function trustedProxies(text: string): number {
  if (!isTrustedProxies(text)) throw new InvalidArgumentError('Give a number from 0 to 9.');
  return Number(text);
}

/** Parses a number of milliseconds. Error: InvalidArgumentError, for commander. */
function milliseconds(text: string): number {
  const ms = /^[0-9]{1,10}$/.test(text) ? Number(text) : Infinity;
  if (ms > timerMsMax)
    throw new InvalidArgumentError(`Give a number of milliseconds, at most ${timerMsMax}; 0 is no limit.`);
  return ms;
}
