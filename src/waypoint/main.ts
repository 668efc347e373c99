/**
 * The waypoint: main process. Discovery, the certificate, metrics and readiness; the data path is in the workers, one per core, which
 * share the port.
 */
import cluster, { type Worker } from 'node:cluster';
import { availableParallelism, hostname } from 'node:os';
import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { pino } from 'pino';
import { AggregatorRegistry, collectDefaultMetrics, Registry } from 'prom-client';
import { systemClock } from '../base/clock.js';
import { errorText, WeftError } from '../base/errors.js';
import { sleep } from '../base/wait.js';
import { DiscoveryClient, type Subscription } from '../discovery/client.js';
import { readAddress } from '../discovery/codec/address.js';
import { decodeTrust } from '../discovery/codec/node-pod.js';
import { readAuthorization } from '../discovery/codec/policy.js';
import { readRoute } from '../discovery/codec/route.js';
import { keepOr, subscribe } from '../discovery/subscription.js';
import { undecodableGauge } from '../telemetry/undecodable.js';
import { createCertificateClient } from '../discovery/certificate-client.js';
import { typeUrls } from '../discovery/types.js';
import { timerMsMax } from '../model/duration.js';
import { parseTrustDomain, spiffeIdOf } from '../model/identity.js';
import type { ServiceKey } from '../model/workload.js';
import type { Route } from '../model/route.js';
import type { MeshUpdate } from '../state/store.js';
import { metricsJson } from '../telemetry/exposition.js';
import { serveRoutes, tokenIn, type Asker } from '../telemetry/servers.js';
import { CertificateManager } from '../tls/certificate-manager.js';
import type { Svid } from '../tls/svid.js';
import { clocksOf } from './limits.js';
import type { FromWorker, ToWorker, WorkerSettings } from './worker/worker-ipc.js';
import { WaypointState } from './state/waypoint-state.js';
import type { AccessLogMode } from './telemetry/access-log.js';
import { runWorker } from './worker/worker.js';

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

const certificateTtlS = 86_400;
const certificateTickMs = 1_000;
const metricsWaitMsMax = 2_000;
const respawnMs = 200;

interface Live {
  readonly worker: Worker;
  /** It hears: what is said before that is lost. */
  up: boolean;
  listening: boolean;
  readonly metricCalls: Map<number, (metrics: object[]) => void>;
  drained: ((cut: number) => void) | undefined;
}

export async function runWaypoint(options: WaypointOptions): Promise<{ stop(): Promise<void> }> {
  const log = pino({ name: 'weft-waypoint', base: { gateway: options.gateway } }, pino.destination(2));
  const [namespace = '', name = ''] = options.gateway.split('/');
  if (namespace === '' || name === '')
    throw new WeftError('WEFT_WAYPOINT_NAME', 'give --gateway as <namespace>/<name>');
  const trustDomain = parseTrustDomain(options.trustDomain);
  const identity = spiffeIdOf({ trustDomain, namespace, serviceAccount: options.serviceAccount ?? name });
  const rootPem = (): string => readFileSync(options.root, 'utf8');
  const token = (): string => readFileSync(options.token, 'utf8').trim();
  const settings: WorkerSettings = {
    node: options.node,
    self: `${namespace}/${name}.${namespace}.svc.cluster.local`,
    trustDomain,
    host: options.listen,
    port: options.port,
    accessLog: options.accessLog,
    accessLogMode: options.accessLogMode,
    accessLogTemplate: options.accessLogTemplate,
    tracing:
      options.otlpEndpoint === undefined
        ? undefined
        : {
            endpoint: options.otlpEndpoint,
            sampling: options.traceSampling,
            serviceName: name,
            namespace,
          },
    limits: clocksOf(options),
    mergeSlashes: options.mergeSlashes !== 'disabled',
  };

  const state = new WaypointState(options.node, settings.self as ServiceKey);
  let svid: Svid | undefined;
  let trust: string | undefined;
  let synced = false;
  let stopping = false;
  let control = { state: 'disconnected', why: 'not yet tried' };
  const live = new Set<Live>();

  // All workers share one listening socket: the kernel gives each connection to one that waits for it.
  cluster.schedulingPolicy = cluster.SCHED_NONE;
  // What is told holds maps, which JSON does not.
  cluster.setupPrimary({ serialization: 'advanced' });
  const tell = (one: Live, message: ToWorker): void => {
    const { worker } = one;
    if (one.up && worker.isConnected()) worker.send(message);
  };
  const broadcast = (message: ToWorker): void => {
    for (const one of live) tell(one, message);
  };
  const spawn = (): void => {
    const worker = cluster.fork();
    const one: Live = { worker, up: false, listening: false, metricCalls: new Map(), drained: undefined };
    live.add(one);
    worker.on('message', (message: FromWorker) => {
      switch (message.type) {
        case 'up':
          one.up = true;
          tell(one, { type: 'start', settings });
          if (synced) tell(one, { type: 'update', update: state.full() });
          // Until the mesh is known it does not listen: it would refuse what it serves.
          if (synced && svid) tell(one, { type: 'svid', svid });
          return;
        case 'listening':
          one.listening = true;
          return;
        case 'metrics':
          return one.metricCalls.get(message.call)?.(message.metrics);
        case 'drained':
          return one.drained?.(message.cut);
        case 'log':
          return log[message.level](message.fields, message.text);
      }
    });
    worker.on('error', (error) => log.error({ error: errorText(error) }, 'a worker cannot be told'));
    worker.once('exit', (code, signal) => {
      live.delete(one);
      one.drained?.(0);
      if (stopping) return;
      log.error({ code, signal }, 'a worker died; another takes its place');
      setTimeout(() => {
        if (!stopping) spawn();
      }, respawnMs);
    });
  };

  const certificates = new CertificateManager({
    issue: createCertificateClient({ target: options.control, rootPem, token }),
    clock: systemClock,
    random: Math.random,
    ttlS: certificateTtlS,
    onSvid: (next) => {
      svid = next;
      log.info(
        { identity, serial: next.serial, notAfter: new Date(next.notAfterMs).toISOString() },
        'certificate',
      );
      if (synced) broadcast({ type: 'svid', svid: next });
    },
    onError: (id, error, retryInMs) =>
      log.warn({ identity: id, error: errorText(error), retryInMs }, 'no certificate'),
  });

  let mesh: { -readonly [K in keyof Required<MeshUpdate>]: NonNullable<MeshUpdate[K]>[number][] } =
    emptyMesh();
  let routes: Route[] = [];
  let removedRoutes: string[] = [];
  const flush = (): void => {
    const hasMesh = Object.values(mesh).some((list) => list.length > 0);
    const update = {
      ...(hasMesh ? { mesh } : {}),
      ...(routes.length > 0 ? { routes } : {}),
      ...(removedRoutes.length > 0 ? { removedRoutes } : {}),
    };
    mesh = emptyMesh();
    routes = [];
    removedRoutes = [];
    if (Object.keys(update).length === 0) return;
    state.apply(update);
    if (synced) broadcast({ type: 'update', update });
  };
  const subscriptions: Subscription[] = [
    subscribe(
      typeUrls.address,
      readAddress,
      (one) =>
        one.kind === 'workload' ? mesh.workloads.push(one.workload) : mesh.services.push(one.service),
      (names) => void mesh.removed.push(...names),
    ),
    subscribe(
      typeUrls.authorization,
      (name, bytes) => readAuthorization(name, bytes, options.rootNamespace),
      (policy) => mesh.policies.push(policy),
      (names) => void mesh.removedPolicies.push(...names),
    ),
    subscribe(
      typeUrls.route,
      readRoute,
      (route) => routes.push(route),
      (names) => void removedRoutes.push(...names),
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
  ];
  const discovery = new DiscoveryClient({
    target: options.control,
    rootPem,
    token,
    nodeId: `waypoint~${options.gateway}~${hostname()}`,
    nodeName: options.node,
    subscriptions,
    onChange: flush,
    onSynced: () => {
      synced = true;
      broadcast({ type: 'update', update: state.full() });
      if (svid) broadcast({ type: 'svid', svid });
      log.info('synced');
    },
    onState: (now, why) => {
      control = { state: now, why };
      log[now === 'connected' ? 'info' : 'warn']({ why }, `control plane ${now}`);
    },
    onRefused: (typeUrl, errors) => log.error({ typeUrl, errors }, 'a resource is not taken'),
    clock: systemClock,
  });

  const ready = (): boolean => !stopping && synced && [...live].some(({ listening }) => listening);
  let calls = 0;
  const own = new Registry();
  collectDefaultMetrics({ register: own, prefix: 'weft_' });
  undecodableGauge(own, () => discovery.undecodable());
  const metricsText = async (names: boolean): Promise<string> => {
    const call = ++calls;
    const all = await Promise.all(
      [...live].map(
        (one) =>
          new Promise<object[]>((resolve) => {
            const timer = setTimeout(() => resolve([]), metricsWaitMsMax);
            one.metricCalls.set(call, (metrics) => {
              clearTimeout(timer);
              one.metricCalls.delete(call);
              resolve(metrics);
            });
            tell(one, { type: 'metrics', call, names });
          }),
      ),
    );
    return AggregatorRegistry.aggregate([...all, await metricsJson(own, names)]).metrics();
  };
  const status = (): string =>
    JSON.stringify({
      gateway: options.gateway,
      ready: ready(),
      workers: live.size,
      control,
      undecodable: discovery.undecodable(),
      certificate: svid && { serial: svid.serial, notAfter: new Date(svid.notAfterMs).toISOString() },
    });
  const plain = 'text/plain';
  const json = 'application/json';
  const readiness = {
    contentType: plain,
    // Why not is told to its own pod alone: it names the control plane.
    read: ({ trusted }: Asker) =>
      ready()
        ? 'ready\n'
        : !trusted
          ? 'not ready\n'
          : `not ready: ${stopping ? 'it is to end' : !synced ? `control plane ${control.state}: ${control.why}` : 'no certificate yet'}\n`,
    status: () => (ready() ? 200 : 503),
  };
  const metricsServer = await serveAt(
    options.metricsListen,
    {
      '/metrics': { contentType: own.contentType, read: ({ trusted }) => metricsText(trusted) },
      '/healthz/ready': readiness,
    },
    tokenIn(options.metricsToken),
  );
  const adminServer = await serveAt(options.adminListen, {
    '/status': { contentType: json, read: status },
    '/dump': { contentType: json, read: () => JSON.stringify(state.dump()) },
  });

  for (let i = 0; i < options.workers; i++) spawn();
  certificates.want(new Set([identity]));
  const ticks = setInterval(() => certificates.tick(), certificateTickMs);
  discovery.start();

  return {
    stop: async () => {
      stopping = true;
      await sleep(options.drainDelayMs);
      const all = [...live].map(
        (one) =>
          new Promise<number>((resolve) => {
            one.drained = resolve;
            tell(one, { type: 'drain', timeoutMs: options.drainMs });
          }),
      );
      const late = sleep(options.drainMs + 2_000).then(() => [] as number[]);
      const cut = await Promise.race([Promise.all(all), late]);
      log.info({ cut: cut.reduce((sum, one) => sum + one, 0) }, 'drained');
      discovery.stop();
      clearInterval(ticks);
      certificates.stop();
      for (const { worker } of live) worker.kill('SIGKILL');
      await metricsServer.close();
      await adminServer.close();
    },
  };
}

/** Error: InvalidArgumentError, for commander. */
function milliseconds(text: string): number {
  const ms = /^[0-9]{1,10}$/.test(text) ? Number(text) : Infinity;
  if (ms > timerMsMax)
    throw new InvalidArgumentError(`It is a number of milliseconds, ${timerMsMax} at most; 0 is no limit.`);
  return ms;
}

const emptyMesh = () => ({ workloads: [], services: [], removed: [], policies: [], removedPolicies: [] });

function serveAt(
  at: string,
  routes: Parameters<typeof serveRoutes>[2],
  token?: () => string | undefined,
): ReturnType<typeof serveRoutes> {
  const match = /^(.*):(\d+)$/.exec(at);
  if (!match) throw new WeftError('WEFT_LISTEN', `${at} is no ADDR:PORT`);
  return serveRoutes((match[1] ?? '').replace(/^\[|\]$/g, ''), Number(match[2]), routes, {
    ...(token ? { token } : {}),
  });
}

async function main(): Promise<void> {
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
  program.parse();
  const waypoint = await runWaypoint(program.opts<WaypointOptions>());
  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (stopping) return;
      stopping = true;
      void waypoint.stop().then(
        () => process.exit(0),
        () => process.exit(1),
      );
    });
  }
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  if (cluster.isWorker) runWorker();
  else
    main().catch((error: unknown) => {
      process.stderr.write(`${errorText(error)}\n`);
      process.exit(1);
    });
}
