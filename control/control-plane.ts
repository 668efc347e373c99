/** The control plane: it reads objects from a source, and serves discovery and certificates. This file wires its parts. */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { pino, type Logger } from 'pino';
import { isIp, parseIp } from '../src/model/address.js';
import type { ChangeQuery, ChangesAnswer } from '../src/model/change.js';
import { parseTrustDomain } from '../src/model/identity.js';
import type { ApiGroupName } from './api-server/api-group.js';
import { startAggregatedApi } from './api-server/start.js';
import type { CallerOfToken } from './authentication/authenticator.js';
import { readToken } from './authentication/join-tokens.js';
import { TokenReviewer } from './authentication/token-review.js';
import { AuthorityStore } from './certificates/authority-store.js';
import { AuthorityWatch } from './certificates/authority-watch.js';
import { CertificateAuthority } from './certificates/ca.js';
import { rootsConfigMap } from './certificates/roots-config-maps.js';
import { ChangeLog } from './changes/change-log.js';
import { ReplicatedChanges } from './changes/replicas.js';
import { closedMeans } from './compile/closed.js';
import type { CompileSettings } from './compile/settings.js';
import { ExplainSource } from './explain/explained.js';
import { resourcesOf } from './policy-mesh/snapshot.js';
import { changesFrom } from './registry/difference.js';
import { rootNamespace } from './compile/policies.js';
import { keyText } from './objects/object-key.js';
import { isUnprotected, problemLine } from './problems/setting-problems.js';
import { unenforced } from './problems/unenforced.js';
import type { WaypointName } from './compile/waypoints.js';
import { EdgeMemory } from './edges/edge-memory.js';
import { TapHub } from './taps/tap-hub.js';
import { ReplicatedTaps } from './taps/tap-source.js';
import { peersOf } from './edges/peers.js';
import { allowedBlocks } from './jwks/decide.js';
import { keyFetcher } from './jwks/fetch.js';
import { KeyFetcher } from './jwks/key-fetcher.js';
import { RefetchRequests } from './jwks/refetch-requests.js';
import { FirstEnrollment } from './kubernetes/first-enrollment.js';
import { LeaderTasks } from './kubernetes/leader-tasks.js';
import { dnsLookup } from './names/lookup.js';
import { NameResolver } from './names/name-resolver.js';
import { Publisher } from './publisher.js';
import { RemovalStages } from './removal.js';
import { replaceFile } from './replace-file.js';
import { auditedCount } from './status/audit.js';
import { serveAdmin } from './serve/admin.js';
import { ControlMetrics } from './serve/metrics.js';
import { publishMetrics, type MetricsOptions } from './serve/metrics-server.js';
import { ControlServer } from './serve/server.js';
import { FileSource } from './source/files.js';
import { KubernetesSource, type KubernetesSourceOptions } from './source/kubernetes.js';
import { fileErrorText, refusedMeans, unusedText } from './source/parse.js';
import type { WaypointDefaults } from './waypoint/defaults.js';

export interface ControlOptions extends MetricsOptions {
  /** Directories of manifests, read as one; absent with `kubernetes`. */
  readonly from?: readonly string[];
  readonly kubernetes?: KubernetesOptions;
  readonly state: string;
  /** ADDR:PORT */
  readonly listen: string;
  readonly trustDomain: string;
  /** With manifests, the namespace whose policies apply to the whole mesh; on Kubernetes it is the control plane's own namespace. */
  readonly rootNamespace?: string;
  /** Remove every pod from the mesh. */
  // eslint-disable-next-line weft/retired-words -- The name of the CLI flag, which users have.
  readonly enrolNone?: boolean;
  /** Keys of issuers may be fetched by http, too. */
  readonly jwksAllowHttp?: boolean;
  /** Address blocks that are not public from which keys of issuers may be fetched. */
  readonly jwksAllowCidrs?: readonly string[];
  /** Lifetime of workload certificates in seconds; absent: the lifetime that the node requests. */
  readonly certTtlS?: number;
}

export interface KubernetesOptions {
  readonly config: KubeConfig;
  /** The control plane's own namespace. */
  readonly namespace: string;
  /** The Secret with the CA's keys. */
  readonly caSecret: string;
  /** The agents' service account, in the same namespace. */
  readonly agentAccount: string;
  /** Name of this replica in the Lease: that of its pod. */
  readonly identity: string;
  /** A file with this replica's own token, to ask the other replicas for edges; absent: it asks none. */
  readonly peerToken?: string;
  /** DNS name by which nodes reach the control plane. */
  readonly serverName: string;
  /** Defaults of the objects that are created for waypoints; absent: the control plane creates none. */
  readonly waypoint?: WaypointDefaults;
  /** Behavior of strict mode while a namespace's pods are enrolled for the first time; absent: `available`. */
  readonly firstEnrollment?: 'available' | 'closed';
  /** The aggregated API, behind APIServices; absent: it is not served. */
  readonly api?: {
    /** ADDR:PORT */
    readonly listen: string;
    readonly groups: readonly ApiGroupName[];
  };
}

export interface RunningControl {
  readonly port: number;
  close(): Promise<void>;
}

/** File of the state directory that lists objects that are not in force as written, and why. `weft status` reads it. */
const problemsFile = 'problems.json';
/** Port of the control plane's Service, for nodes and waypoints. */
const servicePort = 15012;
/** With files, an uninstall releases the pods this long after the start. */
const releaseDelayMs = 5_000;
/** How long the start waits for the keys of token issuers. */
const firstKeysMs = 8_000;

/**
 * Starts the control plane. Resolves once nodes are served. Errors: WEFT_LISTEN, WEFT_CA_KEY, WEFT_SOURCE_MISSING, WEFT_SOURCE_UNREADABLE,
 * and those of the API server.
 */
export async function runControl(options: ControlOptions): Promise<RunningControl> {
  const log = pino({ name: 'weft-control' }, pino.destination(2));
  const { kubernetes } = options;
  const trustDomain = parseTrustDomain(options.trustDomain);
  const ownRoot = kubernetes?.namespace ?? options.rootNamespace ?? rootNamespace;
  const { ca, store } = await openAuthority(options);

  const metrics = new ControlMetrics({
    nodes: () => server.nodes.size,
    objects: () => compiler.size,
    refused: () =>
      compiler.problems().size +
      (source instanceof KubernetesSource ? [...source.refused()].length : source.problems.length),
    settingProblems: () => [...publisher.settingProblems.all()].length,
    leading: () => leaderTasks?.leading ?? !kubernetes,
    names: () => names.size,
    edges: () => edges.store.size,
    waiting: () => compiler.waiting,
    changes: () => changes.size,
    taps: () => tapHub.size,
    keySets: () => keys.size,
    keySetsMissing: () => keys.missing,
    crowdedPorts: () => compiler.crowdedPorts,
    audited: () => auditedCount(compiler.objects(), compiler),
    authorities: () => ca.expiries(),
  });
  const onLimit = (limit: string): void => metrics.limitReached.inc({ limit });
  const changes = new ChangeLog(() => onLimit('control-changes'));
  const startedMs = Date.now();

  const stages =
    options.enrolNone === true ? new RemovalStages(() => publisher.configure(settings())) : undefined;
  const settings = (): CompileSettings => ({
    trustDomain,
    rootsVersion: ca.version,
    rootNamespace: ownRoot,
    ...(stages ? { removal: stages.stage } : {}),
  });
  const publisher = new Publisher({
    settings: settings(),
    onCompiled: () => leaderTasks?.changed(),
    onTurn: () => writeFileProblems(),
    onUpdate: (changed, causes) => {
      const count = changed.reduce((sum, one) => sum + one.names.size, 0);
      changes.record(causes, count, Date.now());
      server.update(changed);
      metrics.pushed.inc(count);
    },
    onLimit,
    log,
  });
  const { compiler } = publisher;
  const names = new NameResolver({
    compiler,
    take: (changed) => publisher.apply(changed),
    lookup: dnsLookup(),
    onQuery: (result) => metrics.nameQueries.inc({ result }),
    onLimit,
    log,
  });

  const replicas = kubernetes && { ...kubernetes, port: servicePort, roots: () => ca.roots };
  const ownChanges = ({ namespace, sinceMs }: ChangeQuery): ChangesAnswer => ({
    changes: changes.changes(sinceMs, namespace),
    sinceMs: startedMs,
    missing: [],
  });
  const allChanges = new ReplicatedChanges(ownChanges, peersOf(compiler, replicas));
  const edges = new EdgeMemory({
    registry: compiler,
    ...(replicas ? { replicas } : {}),
    onRefused: (reason, count) => metrics.edgesRefused.inc({ reason }, count),
    onLimit,
  });
  const tapHub = new TapHub({
    registry: compiler,
    onRefused: (reason, count) => metrics.tapEventsRefused.inc({ reason }, count),
    onLost: (count) => metrics.tapEventsLost.inc(count),
    onLimit,
  });
  const taps = new ReplicatedTaps(tapHub, peersOf(compiler, replicas));
  const keys = new KeyFetcher({
    compiler,
    take: (changed) => {
      publisher.apply(changed);
      writeFileProblems();
    },
    fetch: keyFetcher({
      allow: { http: options.jwksAllowHttp === true, blocks: allowedBlocks(options.jwksAllowCidrs ?? []) },
    }),
    onFetch: (result) => metrics.keyFetches.inc({ result }),
    onLimit,
    log,
  });

  const refetchRequests = new RefetchRequests({
    keySetsOf: (waypoint) => publisher.resources.keySetsOf(waypoint),
    refetch: (uri) => keys.refetch(uri),
    onRequest: (result) => metrics.keyRefetches.inc({ result }),
    onLimit,
  });

  const certificateHosts = hostsOf(options);
  const servingCertificate = () => ca.serverCertificate(certificateHosts.ips, certificateHosts.dns);
  const server = new ControlServer(
    {
      listen: options.listen,
      certificate: servingCertificate(),
      ca,
      callerOfToken: tokenAuthentication(options, (name) => compiler.isWaypoint(name), onLimit),
      mayRequestCertificate: (caller, identity) => compiler.mayRequestCertificate(caller, identity),
      certTtlS: options.certTtlS,
      onCertificate: (issued) => metrics.certificates.inc({ result: issued ? 'issued' : 'refused' }),
      onVersions: () => leaderTasks?.changed(),
      onKeysWanted: (caller, uris) => refetchRequests.take(caller, uris),
      onReport: (node, report) => leaderTasks?.onReport(node, report),
      edges,
      taps: tapHub,
      changes,
      ownChanges,
      stale: () => {
        const kind = source instanceof KubernetesSource ? source.staleKind() : undefined;
        return kind === undefined ? undefined : `the API server has sent no updates of ${kind}s`;
      },
      onRefused: (reason) => metrics.callsRefused.inc({ reason }),
      onLimit,
      log,
    },
    publisher.resources,
  );

  const first =
    kubernetes &&
    new FirstEnrollment({
      config: kubernetes.config,
      compiler,
      take: (changed) => publisher.apply(changed),
      leading: () => leaderTasks?.leading ?? false,
      byDefault: kubernetes.firstEnrollment ?? 'available',
      log,
    });
  let leaderTasks: LeaderTasks | undefined;
  const source = kubernetes
    ? new KubernetesSource({
        config: kubernetes.config,
        onChanges: (changed, originOf) => {
          leaderTasks?.onChanges(changed);
          publisher.apply(first?.admit(changed) ?? changed, originOf);
        },
        ...logged(log, () => leaderTasks?.changed()),
      })
    : fileSource(options, publisher, log);
  function writeFileProblems(): void {
    if (source instanceof FileSource) writeProblems(options, publisher, source);
  }
  // The source starts before the server: a node that connects must never be sent an empty mesh.
  await source.start();
  await first?.start();
  if (kubernetes && source instanceof KubernetesSource)
    leaderTasks = new LeaderTasks({
      config: kubernetes.config,
      namespace: kubernetes.namespace,
      identity: kubernetes.identity,
      compiler,
      refused: () => source.refused(),
      settings: () => publisher.settingProblems.all(),
      olderVersions: (waypoint) => server.olderVersions(waypoint),
      roots: () => ca.roots,
      ...(kubernetes.waypoint
        ? {
            waypoints: {
              ...kubernetes.waypoint,
              control: `${kubernetes.serverName}:${servicePort}`,
              trustDomain: options.trustDomain,
              rootNamespace: kubernetes.namespace,
            },
          }
        : {}),
      apiGroups: kubernetes.api?.groups ?? [],
      log,
      onLimit,
      onRelease: (atMs) => stages?.releaseAt(atMs),
    });
  await keys.ready(firstKeysMs);
  const port = await server.start();
  names.start();
  keys.start();
  if (!kubernetes) stages?.releaseAt(Date.now() + releaseDelayMs);
  const explanations = new ExplainSource({
    whole: () => resourcesOf(compiler, trustDomain),
    rootNamespace: ownRoot,
  });
  const api =
    kubernetes?.api &&
    (await startAggregatedApi({
      ...kubernetes.api,
      config: kubernetes.config,
      rootNamespace: kubernetes.namespace,
      certificate: servingCertificate(),
      registry: compiler,
      edges,
      changes: allChanges,
      explanations,
      taps,
      onResponse: (code) => metrics.metricsApiResponses.inc({ code }),
      onLimit,
      log,
    }));
  const authorityWatch = new AuthorityWatch({
    ca,
    store,
    servingCertificate,
    present: (certificate) => {
      server.present(certificate);
      api?.present(certificate);
    },
    onRootsChanged: () => {
      leaderTasks?.changed();
      publisher.configure(settings());
    },
    log,
  });
  const published = await publishMetrics(options, metrics, ownRoot);
  const adminServer = kubernetes
    ? undefined
    : await serveAdmin({ state: options.state, edges, changes: allChanges, explanations, taps, log });
  log.info({ listen: options.listen, port, trustDomain }, 'ready');
  return {
    port,
    close: async () => {
      authorityWatch.stop();
      publisher.stop();
      names.stop();
      keys.stop();
      source.stop();
      first?.stop();
      tapHub.stop();
      server.stop();
      api?.stop();
      await published.close();
      await adminServer?.close();
      await leaderTasks?.stop();
    },
  };
}

/** Opens the CA from the state directory or from the Secret. The first replica creates the keys. */
async function openAuthority({
  kubernetes,
  state,
  trustDomain,
}: ControlOptions): Promise<{ ca: CertificateAuthority; store: AuthorityStore | undefined }> {
  const store =
    kubernetes && new AuthorityStore(kubernetes.config, kubernetes.namespace, kubernetes.caSecret, state);
  const isStored = await store?.pull();
  const ca = new CertificateAuthority(state, parseTrustDomain(trustDomain));
  if (isStored === false) await store?.create();
  ca.reload();
  await store?.pullJoinKey();
  await store?.publishRoots(rootsConfigMap, ca.roots);
  return { ca, store };
}

/** Authenticates tokens: join tokens are verified here, and the API server reviews all others. */
function tokenAuthentication(
  { kubernetes, state }: ControlOptions,
  isWaypoint: (name: WaypointName) => boolean,
  onLimit: (limit: string) => void,
): CallerOfToken {
  const reviewer =
    kubernetes &&
    new TokenReviewer(
      kubernetes.config,
      `system:serviceaccount:${kubernetes.namespace}:${kubernetes.agentAccount}`,
      isWaypoint,
      onLimit,
    );
  return async (token, address) => {
    const join = await readToken(state, token);
    if (!join) return reviewer?.callerOf(token, address);
    const { subject, namespaces } = join;
    return {
      name: subject,
      ...(namespaces ? { namespaces } : {}),
      recheck: () => readToken(state, token).then((now) => now !== undefined),
    };
  };
}

/** Addresses and DNS names of the serving certificate. */
function hostsOf({ listen, kubernetes }: ControlOptions) {
  const host = listen.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const listening =
    host === '0.0.0.0' || host === '::'
      ? Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((i) => i.address))
      : [host];
  return {
    ips: listening.filter((ip) => isIp(ip)).map(parseIp),
    dns: [kubernetes?.serverName ?? (isIp(host) ? 'weft-control' : host)],
  };
}

/** Log callbacks of the Kubernetes source. @param onRefused called when the status of an object must be written */
const logged = (
  log: Logger,
  onRefused: () => void,
): Pick<KubernetesSourceOptions, 'onRefused' | 'onWatchError'> => ({
  onRefused: ({ object, message }) => {
    const name = `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
    log.error(
      { kind: object.kind, name, message },
      `${object.kind} ${name} cannot be read: ${message}; ${closedMeans(object.kind)}`,
    );
    onRefused();
  },
  onWatchError: (kind, why, retryInMs) =>
    log.warn({ kind, why, retryInMs }, 'watching the API server failed; the last known state stays in force'),
});

function fileSource(options: ControlOptions, publisher: Publisher, log: Logger): FileSource {
  const write = (): void => writeProblems(options, publisher, source);
  const source = new FileSource({
    dirs: options.from ?? [],
    onObjects: (objects) => {
      publisher.apply(changesFrom(publisher.compiler, objects), (key) => source.originOf(key));
      write();
    },
    onErrors: (errors) => {
      write();
      for (const error of errors) {
        if (error.isWarning) log.warn({ ...error }, fileErrorText(error));
        else log.error({ ...error }, `${fileErrorText(error)} (${refusedMeans})`);
      }
    },
    onUnused: (file, unused) => log.info({ file }, `${file}: not used by Weft: ${unusedText(unused)}`),
  });
  return source;
}

/** Lists the objects that are not in force as written, for `weft status`. */
function writeProblems(
  { state }: ControlOptions,
  { compiler, settingProblems }: Publisher,
  source: FileSource,
): void {
  const problems = [
    ...source.problems.map(fileErrorText),
    // Problems of keys that protect nothing are only in the log and in `weft check -f`.
    ...[...settingProblems.all()].filter(isUnprotected).map(problemLine),
    ...[...compiler.problems()].map(([key, { message }]) => `${keyText(key)}: ${message}`),
    ...unenforced(compiler),
  ];
  replaceFile(join(state, problemsFile), JSON.stringify(problems), 0o600);
}
