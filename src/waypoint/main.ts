/**
 * The main process of a waypoint: discovery, the certificate, metrics and readiness. Connections and requests are in the workers, one per core, which
 * share the port.
 */
import cluster from 'node:cluster';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { systemClock } from '../base/clock.js';
import { errorText, WeftError } from '../base/errors.js';
import { sleep } from '../base/wait.js';
import { version } from '../base/version.js';
import { capabilitiesOf } from '../discovery/capabilities.js';
import { DiscoveryClient } from '../discovery/client.js';
import { TapClient } from '../discovery/tap-client.js';
import { keySetType } from '../discovery/types.js';
import { parseTrustDomain, spiffeIdOf } from '../model/identity.js';
import type { ServiceKey } from '../model/workload.js';
import { TapBuffer, type TapSetting } from '../telemetry/taps.js';
import type { Svid } from '../tls/svid.js';
import { serveAdmin } from './admin.js';
import { createCertificates } from './certificate.js';
import { startClientCertificates } from './client-certificates.js';
import { PendingUpdate } from './discovery.js';
import { KeyRefetchRequests } from './jwt/key-refetches.js';
import { parseOptions, settingsOf, type WaypointOptions } from './options.js';
import { WaypointState } from './state/waypoint-state.js';
import { startEdgeReports } from './telemetry/edge-reports.js';
import { countLimits } from './telemetry/limit-counter.js';
import type { ToWorker } from './worker/worker-ipc.js';
import { WorkerPool } from './worker/worker-pool.js';
import { runWorker } from './worker/worker.js';

const certificateTickMs = 1_000;
const lastReportMsMax = 500;
/** Events of all workers that wait to be sent to the readers of taps. */
const tappedMax = 512;

async function runWaypoint(options: WaypointOptions): Promise<{ stop(): Promise<void> }> {
  const log = pino({ name: 'weft-waypoint', base: { gateway: options.gateway } }, pino.destination(2));
  const [namespace = '', name = ''] = options.gateway.split('/');
  if (namespace === '' || name === '')
    throw new WeftError('WEFT_WAYPOINT_NAME', `--gateway ${options.gateway} is not <namespace>/<name>`);
  const trustDomain = parseTrustDomain(options.trustDomain);
  const identity = spiffeIdOf({ trustDomain, namespace, serviceAccount: options.serviceAccount ?? name });
  const rootPem = (): string => readFileSync(options.root, 'utf8');
  const token = (): string => readFileSync(options.token, 'utf8').trim();
  const self = `${namespace}/${name}.${namespace}.svc.cluster.local`;

  const registry = new Registry();
  const onLimit = countLimits(registry);
  const edges = startEdgeReports({ target: options.control, rootPem, token }, registry, onLimit, (why) =>
    log.warn({ error: why }, 'a report of who called whom could not be sent to the control plane; retrying'),
  );

  const tapped = new TapBuffer(tappedMax);
  let tapSetting: TapSetting = { taps: [], leaseMs: 0 };
  const taps = new TapClient({
    control: { target: options.control, rootPem, token },
    onTaps: (setting) => {
      if (setting.taps.length > 0 || tapSetting.taps.length > 0) workers.broadcast({ type: 'taps', setting });
      tapSetting = setting;
      if (setting.taps.length === 0) tapped.clear();
    },
    take: () => tapped.take(),
    onProblem: (error) => log.info({ error }, 'the stream of taps has ended; retrying'),
  });

  const state = new WaypointState(options.node, self as ServiceKey);
  const clientCertificates = startClientCertificates({
    directory: options.clientCertificates,
    namespace,
    registry,
    log,
    onLimit,
    onChange: (states) => {
      if (synced) workers.broadcast({ type: 'client-certificates', states });
    },
  });
  let svid: Svid | undefined;
  let synced = false;
  let stopping = false;
  let control = { state: 'disconnected', why: 'no attempt yet' };

  const settings = settingsOf(options, trustDomain, self, namespace, name);
  const workers = new WorkerPool({
    settings,
    count: options.workers,
    log,
    onEdges: edges.onEdges,
    onTapped: ({ events, lost }) => {
      for (const event of events) tapped.add(event);
      for (const loss of lost) tapped.lose(loss.tap, loss.events);
    },
    onUnknownKey: (uri) => keyRefetches.want(uri),
    // Before the mesh is synced no worker may listen: it would refuse destinations that it serves.
    initial: (): readonly ToWorker[] =>
      synced
        ? [
            { type: 'client-certificates', states: clientCertificates.states() },
            { type: 'update', update: state.full() },
            ...(svid ? [{ type: 'svid', svid } as const] : []),
            { type: 'taps', setting: tapSetting },
          ]
        : [],
  });
  const certificates = createCertificates({
    identity,
    control: options.control,
    rootPem,
    token,
    log,
    onSvid: (next) => {
      svid = next;
      if (synced) workers.broadcast({ type: 'svid', svid: next });
    },
  });
  const pending = new PendingUpdate();
  const discovery = new DiscoveryClient({
    target: options.control,
    rootPem,
    token,
    nodeId: `waypoint~${options.gateway}~${hostname()}`,
    nodeName: options.node,
    capabilities: capabilitiesOf(version),
    subscriptions: pending.subscriptions(options.rootNamespace, () => certificates.refreshAll()),
    onChange: () => {
      const update = pending.take();
      if (!update) return;
      state.apply(update);
      if (update.servicePolicies ?? update.removedServicePolicies)
        clientCertificates.want(state.clientCertificateNames());
      if (synced) workers.broadcast({ type: 'update', update });
    },
    onSynced: () => {
      synced = true;
      workers.broadcast({ type: 'client-certificates', states: clientCertificates.states() });
      workers.broadcast({ type: 'update', update: state.full() });
      if (svid) workers.broadcast({ type: 'svid', svid });
      log.info('synced');
    },
    onState: (now, why) => {
      control = { state: now, why };
      log[now === 'connected' ? 'info' : 'warn']({ why }, `control plane ${now}`);
    },
    onRefused: (typeUrl, errors) => log.error({ typeUrl, errors }, 'a resource was rejected'),
    clock: systemClock,
  });
  const keyRefetches = new KeyRefetchRequests((uris) => discovery.request(keySetType, uris));
  const admin = await serveAdmin({
    ...options,
    metricsToken: options.metricsToken,
    program: settings.program,
    registry,
    state,
    workers,
    discovery,
    svid: () => svid,
    clientCertificates: () => clientCertificates.problems(),
    control: () => control,
    notReady: () => {
      if (stopping) return 'the waypoint is shutting down';
      if (!synced) return `control plane ${control.state}: ${control.why}`;
      return workers.isListening ? undefined : 'no certificate yet';
    },
  });

  workers.start();
  certificates.want(new Set([identity]));
  const ticks = setInterval(() => certificates.tick(), certificateTickMs);
  discovery.start();
  taps.start();

  return {
    stop: async () => {
      stopping = true;
      workers.retire();
      await sleep(options.drainDelayMs);
      const cut = await workers.drain(options.drainMs);
      log.info({ cut }, 'drained');
      await Promise.race([edges.stop(), sleep(lastReportMsMax)]);
      taps.stop();
      discovery.stop();
      clearInterval(ticks);
      clientCertificates.stop();
      certificates.stop();
      workers.kill();
      await admin.close();
    },
  };
}

async function main(): Promise<void> {
  const waypoint = await runWaypoint(parseOptions());
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
