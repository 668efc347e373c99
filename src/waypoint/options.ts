/** The command line of a waypoint. */
import { availableParallelism } from 'node:os';
import { Command, InvalidArgumentError, Option } from 'commander';
import { timerMsMax } from '../model/duration.js';
import { clocksOf } from './limits.js';
import type { AccessLogMode } from './telemetry/access-log.js';
import type { WorkerSettings } from './worker/worker-ipc.js';

export interface WaypointOptions {
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
  /** A file: who shows what is in it may read metrics with names from elsewhere. */
  readonly metricsToken?: string;
  /** For Prometheus and readiness; `/status` and `/dump` are served at the admin address alone. */
  readonly metricsListen: string;
  readonly adminListen: string;
  readonly accessLog: string;
  readonly accessLogMode: AccessLogMode;
  readonly accessLogTemplate?: string;
  /** URL of an OTLP/HTTP collector for spans; absent: none are made. */
  readonly otlpEndpoint?: string;
  readonly traceSampling: number;
  /** Milliseconds; 0: the clock is off. Absent: the defaults (limits.ts). */
  readonly requestHeadTimeoutMs?: number;
  readonly requestBodyIdleTimeoutMs?: number;
  readonly streamIdleTimeoutMs?: number;
  readonly connectionIdleTimeoutMs?: number;
  /** Slashes of paths that follow each other are made one; so they are where it is absent. */
  readonly mergeSlashes?: 'enabled' | 'disabled';
  readonly drainMs: number;
  /** From the signal to the end of the listener: until then clients may not know yet that they shall go elsewhere. */
  readonly drainDelayMs: number;
}

/** Ends the process where an argument is wrong, as commander does. */
export function parseOptions(): WaypointOptions {
  const program = new Command('weft waypoint-proxy')
    .description('run a waypoint')
    .requiredOption('--gateway <ns/name>', 'the Gateway that it is made for')
    .option('--service-account <name>', "its own; the Gateway's name where absent")
    .option('--node <name>', 'the node that it runs on', '')
    .requiredOption('--control <addr:port>', 'the control plane')
    .requiredOption('--root <file>', 'root certificates of the control plane')
    .requiredOption('--token <file>', 'its token')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--root-namespace <name>', "whose policies are the mesh's", 'weft-system')
    .option('--listen <addr>', 'address for tunnels; all where absent')
    .option('--port <port>', 'for tunnels', Number, 15008)
    .option(
      '--workers <n>',
      'processes that share the port; one per core where absent',
      Number,
      availableParallelism(),
    )
    .option('--metrics-listen <addr:port>', 'for Prometheus, and readiness', '0.0.0.0:15020')
    .option('--metrics-token <file>', 'who shows it (Bearer) may read metrics with names from elsewhere')
    .option('--admin-listen <addr:port>', 'for weft status and weft dump', '127.0.0.1:15000')
    .option('--access-log <file>', 'a line per request; - is standard output', '-')
    .addOption(
      new Option('--access-log-mode <which>', 'which requests have a line')
        .choices(['none', 'errors', 'all'])
        .default('errors'),
    )
    .option('--access-log-template <text>', 'with %FIELD% for the fields; JSON where absent')
    .option(
      '--otlp-endpoint <url>',
      'where spans go, as http://collector:4318/v1/traces; none are made where absent',
    )
    .option('--trace-sampling <share>', 'of requests that nobody has decided about, 0 to 1', Number, 0.01)
    .option('--request-head-timeout-ms <ms>', "for a request's head (15 s); 0: no limit", milliseconds)
    .option('--request-body-idle-timeout-ms <ms>', "without a piece of a request's body (60 s)", milliseconds)
    .option(
      '--stream-idle-timeout-ms <ms>',
      'of a request without a byte in either direction (5 min, an hour once its response has begun)',
      milliseconds,
    )
    .option('--connection-idle-timeout-ms <ms>', 'of a connection without a request (1 h)', milliseconds)
    .addOption(
      new Option('--merge-slashes <which>', 'disabled: // of a path stays as the client sent it')
        .choices(['enabled', 'disabled'])
        .default('enabled'),
    )
    .option('--drain-ms <ms>', 'how long requests may go on at SIGTERM', Number, 30_000)
    .option('--drain-delay-ms <ms>', 'from SIGTERM to the end of new connections', Number, 2_000);
  return program.parse().opts<WaypointOptions>();
}

/** What workers are started with. `self`: the waypoint's own Service; `namespace` and `name`: its Gateway's. */
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
    tracing: endpoint === undefined ? undefined : { endpoint, sampling, serviceName: name, namespace },
    limits: clocksOf(options),
    mergeSlashes: options.mergeSlashes !== 'disabled',
  };
}

/** Error: InvalidArgumentError, for commander. */
function milliseconds(text: string): number {
  const ms = /^[0-9]{1,10}$/.test(text) ? Number(text) : Infinity;
  if (ms > timerMsMax)
    throw new InvalidArgumentError(`It is a number of milliseconds, ${timerMsMax} at most; 0 is no limit.`);
  return ms;
}
