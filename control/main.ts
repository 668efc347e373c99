/** The control plane: a registry in, discovery and certificates out. */
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import { Command, Option } from 'commander';
import { pino } from 'pino';
import { errorText, WeftError } from '../src/base/errors.js';
import { isIp, parseIp } from '../src/model/address.js';
import { parseTrustDomain } from '../src/model/identity.js';
import { metricsText } from '../src/telemetry/exposition.js';
import { serveRoutes, tokenIn } from '../src/telemetry/servers.js';
import { Compiler, type Changes, type CompileSettings, type ObjectKey } from './compile/compile.js';
import { differenceFrom } from './compile/difference.js';
import type { MeshObject } from './compile/objects.js';
import { isUnprotected, problemLine, SettingProblems } from './compile/setting-problems.js';
import { closedMeans } from './compile/closed.js';
import { rootNamespace } from './compile/policies.js';
import { unenforced } from './compile/unenforced.js';
import { AuthorityStore } from './certificates/authority-store.js';
import { applyCrds } from '../src/kubernetes/crds.js';
import { loadKubeConfig } from '../src/kubernetes/config.js';
import { askAgents } from './kubernetes/agents.js';
import { FirstEnrollment } from './kubernetes/first-enrollment.js';
import { rootsConfigMap } from './certificates/roots-config-maps.js';
import { LeaderTasks } from './kubernetes/leader-tasks.js';
import { releaseNodes } from './kubernetes/release.js';
import { TokenReviewer } from './authentication/token-review.js';
import { waypointDefaults, type WaypointDefaults } from './waypoint/defaults.js';
import type { KeyAndCertificate } from '../src/tls/issue.js';
import { manifestFindings, manifestTexts } from './manifest-findings.js';
import { ProblemLog } from './problem-log.js';
import { RemovalStages } from './removal.js';
import { CertificateAuthority, serverCertificateDueMs } from './certificates/ca.js';
import { replaceFile } from './replace-file.js';
import { ControlMetrics } from './serve/metrics.js';
import { Resources } from './serve/resources.js';
import { ControlServer } from './serve/server.js';
import { rotateRoot, type RotationPhase } from './certificates/rotation.js';
import { seconds, tokenCommands } from './commands/token.js';
import { readToken } from './authentication/join-tokens.js';
import { FileSource } from './source/files.js';
import { fileErrorText, refusedMeans, unusedText } from './source/parse.js';
import { KubernetesSource } from './source/kubernetes.js';
import { crdDir } from './source/validate.js';

export interface ControlOptions {
  /** Directories of manifests, read as one; absent with `kubernetes`. */
  readonly from?: readonly string[];
  readonly kubernetes?: KubernetesOptions;
  readonly state: string;
  /** ADDR:PORT */
  readonly listen: string;
  /** ADDR:PORT for Prometheus; absent: nowhere. */
  readonly metricsListen?: string;
  /** A file: who shows what is in it may read metrics with names from elsewhere. */
  readonly metricsToken?: string;
  readonly trustDomain: string;
  /** Whose policies apply to the whole mesh, of manifests; on Kubernetes it is the control plane's own. */
  readonly rootNamespace?: string;
  /** Take every pod out of the mesh. */
  readonly enrolNone?: boolean;
  /** Lifetime of workload certificates; what the node asks for where absent. */
  readonly certTtlS?: number;
}

export interface KubernetesOptions {
  readonly config: KubeConfig;
  /** Of the control plane itself. */
  readonly namespace: string;
  /** Where the CA's keys are kept. */
  readonly caSecret: string;
  /** The agents' service account, in the same namespace. */
  readonly agentAccount: string;
  /** Of this replica, in the Lease. */
  readonly identity: string;
  /** DNS name that nodes reach this by. */
  readonly serverName: string;
  /** How waypoints are made; absent: by others. */
  readonly waypoint?: WaypointDefaults;
  /** Of strict mode while pods of a namespace are enrolled for the first time; `available` where absent. */
  readonly firstEnrollment?: 'available' | 'closed';
}

/** In the state directory. */
const problemsFile = 'problems.json';
/** Of the control plane's Service, for nodes and waypoints. */
const servicePort = 15012;
const rootCheckMs = 500;
const openedMs = 5_000;
const secretCheckMs = 10_000;
const renewRetryMs = 60_000;

export async function runControl(options: ControlOptions): Promise<{ port: number; close(): Promise<void> }> {
  const log = pino({ name: 'weft-control' }, pino.destination(2));
  const trustDomain = parseTrustDomain(options.trustDomain);
  const { kubernetes } = options;
  const store =
    kubernetes &&
    new AuthorityStore(kubernetes.config, kubernetes.namespace, kubernetes.caSecret, options.state);
  const stored = await store?.pull();
  const ca = new CertificateAuthority(options.state, trustDomain);
  if (stored === false) await store?.create();
  ca.reload();
  await store?.pullJoinKey();
  await store?.publishRoots(rootsConfigMap, ca.roots);
  const reviewer =
    kubernetes &&
    new TokenReviewer(
      kubernetes.config,
      `system:serviceaccount:${kubernetes.namespace}:${kubernetes.agentAccount}`,
      (name) => compiler.isWaypoint(name),
      (limit) => metrics.limitReached.inc({ limit }),
    );
  const stages =
    options.enrolNone === true ? new RemovalStages(() => tell(compiler.configure(settings()))) : undefined;
  const settings = (): CompileSettings => ({
    trustDomain,
    rootsVersion: ca.version,
    rootNamespace: kubernetes?.namespace ?? options.rootNamespace ?? rootNamespace,
    ...(stages ? { removal: stages.stage } : {}),
  });
  const compiler = new Compiler(settings());
  const resources = new Resources();
  const metrics = new ControlMetrics({
    nodes: () => server.nodes.size,
    objects: () => compiler.size,
    refused: () =>
      compiler.problems().size +
      (source instanceof KubernetesSource ? [...source.refused()].length : source.problems.length),
    settingProblems: () => [...settingsOf.all()].length,
    leading: () => leaderTasks?.leading ?? !kubernetes,
  });

  const host = options.listen.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  const listening =
    host === '0.0.0.0' || host === '::'
      ? Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((i) => i.address))
      : [host];
  const ips = listening.filter((ip) => isIp(ip)).map(parseIp);
  const servingCertificate = (): KeyAndCertificate =>
    ca.serverCertificate(ips, [kubernetes?.serverName ?? (isIp(host) ? 'weft-control' : host)]);
  const server = new ControlServer(
    {
      listen: options.listen,
      certificate: servingCertificate(),
      ca,
      // Join tokens are verified here. The API server reviews all other tokens.
      callerOfToken: async (token, address) => {
        const join = await readToken(options.state, token);
        if (!join) return reviewer?.callerOf(token, address);
        const { subject, namespaces } = join;
        return {
          name: subject,
          ...(namespaces ? { namespaces } : {}),
          recheck: () => readToken(options.state, token).then((now) => now !== undefined),
        };
      },
      mayHaveCertificate: (caller, identity) => compiler.mayAsk(caller, identity),
      certTtlS: options.certTtlS,
      onCertificate: (issued) => metrics.certificates.inc({ result: issued ? 'issued' : 'refused' }),
      onReport: (node, report) => leaderTasks?.onReport(node, report),
      stale: () => {
        const kind = source instanceof KubernetesSource ? source.staleKind() : undefined;
        return kind === undefined ? undefined : `the API server says nothing of ${kind}s`;
      },
      onRefused: (reason) => metrics.callsRefused.inc({ reason }),
      onLimit: (limit) => metrics.limitReached.inc({ limit }),
      log,
    },
    resources,
  );

  const problems = new ProblemLog(compiler, log);
  const settingsOf = new SettingProblems(() => metrics.limitReached.inc({ limit: 'setting-problems' }));
  /** Compiles changed objects and updates nodes. Unknown values of labels and annotations go to the log. */
  const take = (changed: ReadonlyMap<ObjectKey, MeshObject | undefined>): void => {
    for (const found of settingsOf.apply(changed)) {
      const { kind, metadata } = found.object;
      const { namespace, name } = metadata;
      log.error({ kind, namespace, name }, problemLine(found));
    }
    tell(compiler.apply(changed));
  };
  /** `weft status` reads this file: objects that are not in force as they are written, and why. */
  const writeProblems = (): void => {
    if (!(source instanceof FileSource)) return;
    const problems = [
      ...source.problems.map(fileErrorText),
      // A key that nothing is protected by is in the log and in `weft check -f` alone.
      ...[...settingsOf.all()].filter(isUnprotected).map(problemLine),
      ...[...compiler.problems()].map(([key, { message }]) => `${key}: ${message}`),
      ...unenforced(compiler),
    ];
    replaceFile(join(options.state, problemsFile), JSON.stringify(problems), 0o600);
  };
  const tell = (changes: Changes): void => {
    const changed = resources.apply(changes);
    problems.refresh();
    leaderTasks?.changed();
    if (changed.length === 0) return;
    server.update(changed);
    const names = changed.reduce((sum, one) => sum + one.names.size, 0);
    metrics.pushed.inc(names);
    log.info({ objects: compiler.size, changed: names }, 'compiled');
  };
  let leaderTasks: LeaderTasks | undefined;
  const source = kubernetes
    ? new KubernetesSource({
        config: kubernetes.config,
        onChanges: (changed) => {
          leaderTasks?.onChanges(changed);
          take(first?.admit(changed) ?? changed);
        },
        onRefused: ({ object, message }) => {
          const name = `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
          log.error(
            { kind: object.kind, name, message },
            `${object.kind} ${name} cannot be read: ${message}; ${closedMeans(object.kind)}`,
          );
          leaderTasks?.changed();
        },
        onTrouble: (kind, why, retryInMs) =>
          log.warn({ kind, why, retryInMs }, 'the API server was not heard; what is known stays in force'),
      })
    : new FileSource({
        dirs: options.from ?? [],
        onObjects: (objects) => {
          take(differenceFrom(compiler, objects));
          writeProblems();
        },
        onErrors: (errors) => {
          writeProblems();
          for (const error of errors) {
            if (error.isWarning) log.warn({ ...error }, fileErrorText(error));
            else log.error({ ...error }, `${fileErrorText(error)} (${refusedMeans})`);
          }
        },
        onUnused: (file, unused) => log.info({ file }, `${file}: not used by Weft: ${unusedText(unused)}`),
      });
  const first =
    kubernetes &&
    new FirstEnrollment({
      config: kubernetes.config,
      compiler,
      take,
      leading: () => leaderTasks?.leading ?? false,
      byDefault: kubernetes.firstEnrollment ?? 'available',
      log,
    });
  // Objects first: a node that connects must never be told an empty mesh.
  await source.start();
  await first?.start();
  if (kubernetes && source instanceof KubernetesSource) {
    leaderTasks = new LeaderTasks({
      config: kubernetes.config,
      namespace: kubernetes.namespace,
      identity: kubernetes.identity,
      compiler,
      refused: () => source.refused(),
      settings: () => settingsOf.all(),
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
      log,
      onLimit: (limit) => metrics.limitReached.inc({ limit }),
      onRelease: (atMs) => stages?.releaseAt(atMs),
    });
  }
  const port = await server.start();
  if (!kubernetes) stages?.releaseAt(Date.now() + openedMs);
  // The signing key signs the serving certificate, so that a node that trusts only the new root can reconnect. Open streams keep the
  // certificate that they began with.
  let signer = ca.signer;
  let renewAtMs = performance.now() + serverCertificateDueMs;
  const renewServing = (): void => {
    if (ca.signer === signer && performance.now() < renewAtMs) return;
    try {
      server.present(servingCertificate());
      signer = ca.signer;
      renewAtMs = performance.now() + serverCertificateDueMs;
      log.info({ signer }, 'serving under a new certificate');
    } catch (error) {
      // Tried again later, not at every check: the present certificate is valid for as long again.
      renewAtMs = performance.now() + renewRetryMs;
      signer = ca.signer;
      log.error({ error: errorText(error) }, 'no new serving certificate, tried again');
    }
  };
  let unread = '';
  const timer = setInterval(() => {
    let changed = false;
    try {
      changed = ca.reload();
      unread = '';
    } catch (error) {
      if (unread !== errorText(error)) log.error({ error: errorText(error) }, 'keys not read again');
      unread = errorText(error);
    }
    // Before nodes are sent the new roots: a node that reconnects with them needs a serving certificate that they verify.
    renewServing();
    if (!changed) return;
    log.info({ version: ca.version }, 'roots changed');
    leaderTasks?.changed();
    tell(compiler.configure(settings()));
  }, rootCheckMs);
  const secretTimer =
    store &&
    setInterval(() => {
      store
        .pull()
        .then(() => store.pullJoinKey())
        .catch((error: unknown) =>
          log.warn({ error: errorText(error) }, 'the secrets of keys were not read again'),
        );
    }, secretCheckMs);
  const metricsAt = options.metricsListen?.match(/^(.*):(\d+)$/);
  const metricsServer =
    metricsAt &&
    (await serveRoutes(
      (metricsAt[1] ?? '').replace(/^\[|\]$/g, ''),
      Number(metricsAt[2]),
      {
        '/metrics': {
          contentType: metrics.registry.contentType,
          read: ({ trusted }) => metricsText(metrics.registry, trusted),
        },
      },
      { token: tokenIn(options.metricsToken) },
    ));
  log.info({ listen: options.listen, port, trustDomain }, 'ready');
  return {
    port,
    close: async () => {
      clearInterval(timer);
      clearInterval(secretTimer);
      source.stop();
      first?.stop();
      server.stop();
      await metricsServer?.close();
      await leaderTasks?.stop();
    },
  };
}

interface ServeFlags
  extends Omit<ControlOptions, 'kubernetes'>, Omit<KubernetesOptions, 'config' | 'waypoint' | 'serverName'> {
  readonly kubernetes?: boolean;
  readonly serverName?: string;
  /** JSON */
  readonly waypoint?: string;
}

async function optionsOf({
  kubernetes,
  namespace,
  caSecret,
  agentAccount,
  identity,
  serverName,
  waypoint,
  firstEnrollment,
  ...rest
}: ServeFlags): Promise<ControlOptions> {
  if ((kubernetes === true) === (rest.from !== undefined))
    throw new WeftError('WEFT_SOURCE', 'give either --from, a directory of manifests, or --kubernetes');
  if (kubernetes !== true) return rest;
  if (rest.rootNamespace !== undefined)
    throw new WeftError(
      'WEFT_SOURCE',
      "--root-namespace goes with --from: on Kubernetes it is the control plane's own",
    );
  const config = await loadKubeConfig();
  const made = waypoint === undefined ? {} : { waypoint: waypointDefaults(waypoint) };
  return {
    ...rest,
    kubernetes: {
      config,
      namespace,
      caSecret,
      agentAccount,
      identity,
      serverName: serverName ?? `weft-control.${namespace}.svc`,
      ...(firstEnrollment ? { firstEnrollment } : {}),
      ...made,
    },
  };
}

/** What holds after a phase, and what comes next. */
const rotated: Readonly<Record<RotationPhase, string>> = {
  begin: 'the new root is trusted beside the old one; once all nodes have it: --phase switch',
  switch: 'certificates are signed by the new root; once all nodes have theirs: --phase finish',
  finish: 'the old root is trusted no more',
};

async function main(): Promise<void> {
  const program = new Command('weft control');
  program
    .command('serve', { isDefault: true })
    .option('--from <dirs...>', 'directories of manifests, read as one')
    .option('--kubernetes', "the Kubernetes API instead, by the pod's own account or KUBECONFIG")
    .option('--namespace <name>', 'of the control plane: its policies apply to the whole mesh', rootNamespace)
    .option('--root-namespace <name>', 'of manifests: whose policies apply to the whole mesh')
    .option('--ca-secret <name>', "where the CA's keys are kept", 'weft-ca')
    .option('--agent-account <name>', "the agents' service account", 'weft-agent')
    .option('--identity <name>', 'of this replica, in the Lease', hostname())
    .option('--server-name <dns>', 'that nodes reach this by; weft-control.NAMESPACE.svc where absent')
    .option('--waypoint <json>', 'how waypoints are made: image, replicas, ...; absent: they are not')
    .addOption(
      new Option(
        '--first-enrollment <how>',
        'strict mode while pods of a namespace are enrolled for the first time: it waits (available), or not (closed)',
      ).choices(['available', 'closed']),
    )
    .requiredOption('--state <dir>', 'where roots, CA and token keys are kept')
    .requiredOption('--listen <addr:port>', 'address for discovery and certificates')
    .option('--metrics-listen <addr:port>', 'address for Prometheus')
    .option('--metrics-token <file>', 'who shows it (Bearer) may read metrics with names from elsewhere')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--enrol-none', 'take every pod out of the mesh')
    .option('--cert-ttl-s <seconds>', 'lifetime of workload certificates', seconds)
    .action(async (given: ServeFlags) => {
      const control = await runControl(await optionsOf(given));
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          void control.close().finally(() => process.exit(0));
        });
      }
    });
  program
    .command('release-nodes')
    .description('take every pod out of the mesh, so that agents leave nothing behind when they end')
    .option('--namespace <name>', 'of the control plane', 'weft-system')
    .option('--deployment <name>', 'the control plane', 'weft-control')
    .action(async ({ namespace, deployment }: { namespace: string; deployment: string }) => {
      const config = await loadKubeConfig();
      await releaseNodes(config, namespace, deployment);
      console.log('every pod is out of the mesh');
    });
  program
    .command('check-nodes')
    .description('ask every agent whether it is ready: exit code 1 where one is not')
    .option('--namespace <name>', 'of the agents', 'weft-system')
    .action(async ({ namespace }: { namespace: string }) => {
      const config = await loadKubeConfig();
      const answers = await askAgents(config, namespace, '/healthz/ready');
      for (const { node, status, text } of answers) {
        console.log(`${node}: ${status === 200 ? 'ready' : `not ready: ${text}`}`);
        if (status !== 200) process.exitCode = 1;
      }
      if (answers.length > 0) return;
      console.log(`no agents run in ${namespace}`);
      process.exitCode = 1;
    });
  program
    .command('apply-crds')
    .description("bring Weft's own kinds in the API server to this version")
    .action(async () => {
      for (const name of await applyCrds(await loadKubeConfig(), crdDir())) console.log(`applied ${name}`);
    });
  program
    .command('check-manifests')
    .description('say what is wrong with manifests, as JSON')
    .requiredOption('--from <paths...>', 'files, or directories of them')
    .option('--root-namespace <name>', 'whose policies apply to the whole mesh', rootNamespace)
    .action(({ from, rootNamespace: root }: { from: string[]; rootNamespace: string }) => {
      console.log(JSON.stringify(manifestFindings(manifestTexts(from), root)));
    });
  tokenCommands(program);
  program
    .command('rotate-root')
    .description('change the root without a cut: begin, switch, finish')
    .requiredOption('--state <dir>', "the control plane's state directory")
    .requiredOption('--phase <phase>', 'begin, switch or finish')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .action((options: { state: string; phase: string; trustDomain: string }) => {
      if (options.phase !== 'begin' && options.phase !== 'switch' && options.phase !== 'finish') {
        throw new WeftError('WEFT_ROTATION', 'the phase is begin, switch or finish');
      }
      rotateRoot(options.state, parseTrustDomain(options.trustDomain), options.phase);
      console.log(rotated[options.phase]);
    });
  await program.parseAsync();
}

if (process.argv[1] && import.meta.url === `file://${process.argv[1]}`) {
  main().catch((error: unknown) => {
    console.error(errorText(error));
    process.exit(1);
  });
}
