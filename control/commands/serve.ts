/** `serve`: the control plane itself, by files or by the Kubernetes API. */
import { hostname } from 'node:os';
import { Option, type Command } from 'commander';
import { WeftError } from '../../src/base/errors.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { rootNamespace } from '../compile/policies.js';
import { runControl, type ControlOptions, type KubernetesOptions } from '../control-plane.js';
import { waypointDefaults } from '../waypoint/defaults.js';
import { seconds } from './seconds.js';

interface ServeFlags
  extends Omit<ControlOptions, 'kubernetes'>, Omit<KubernetesOptions, 'config' | 'waypoint' | 'serverName'> {
  readonly kubernetes?: boolean;
  readonly serverName?: string;
  /** JSON */
  readonly waypoint?: string;
}

export function serveCommand(program: Command): void {
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
    .action(async (flags: ServeFlags) => {
      const control = await runControl(await optionsOf(flags));
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          void control.close().finally(() => process.exit(0));
        });
      }
    });
}

/** Errors: WEFT_SOURCE, of loadKubeConfig(). */
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
      ...(waypoint === undefined ? {} : { waypoint: waypointDefaults(waypoint) }),
    },
  };
}
