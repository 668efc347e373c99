/** `serve`: runs the control plane, with manifests from files or from the Kubernetes API. */
import { hostname } from 'node:os';
import { Option, type Command } from 'commander';
import { rootNamespaceText } from '../../src/base/option-texts.js';
import { UsageError } from '../../src/base/usage.js';
import { loadKubeConfig } from '../../src/kubernetes/config.js';
import { otlpUrl } from '../../src/telemetry/otlp/load.js';
import { apiGroups, type ApiGroupName } from '../api-server/api-group.js';
import { rootNamespace } from '../compile/policies.js';
import { runControl, type ControlOptions, type KubernetesOptions } from '../control-plane.js';
import { waypointDefaults } from '../waypoint/defaults.js';
import { seconds } from './seconds.js';

interface ServeFlags
  extends
    Omit<ControlOptions, 'kubernetes'>,
    Omit<KubernetesOptions, 'config' | 'waypoint' | 'serverName' | 'api'> {
  readonly apiListen?: string;
  readonly apiGroups: readonly ApiGroupName[];
  readonly kubernetes?: boolean;
  readonly serverName?: string;
  /** JSON */
  readonly waypoint?: string;
}

export function serveCommand(program: Command): void {
  program
    .command('serve', { isDefault: true })
    .description('run the control plane; so does `weft control` without a command')
    .option('--from <dirs...>', 'directories of manifests, read as one')
    .option('--kubernetes', "read the Kubernetes API instead, with the pod's service account or KUBECONFIG")
    .option(
      '--namespace <name>',
      'namespace of the control plane; its policies apply to the whole mesh',
      rootNamespace,
    )
    .option('--root-namespace <name>', `with --from: ${rootNamespaceText}`)
    .option('--ca-secret <name>', "Secret with the CA's keys", 'weft-ca')
    .option('--agent-account <name>', 'service account of the agents', 'weft-agent')
    .option('--identity <name>', 'holder identity of this replica in the Lease', hostname())
    .option(
      '--server-name <dns>',
      'DNS name by which nodes reach this replica (default: weft-control.NAMESPACE.svc)',
    )
    .option(
      '--waypoint <json>',
      'defaults of waypoints (image, replicas, ...); without it no waypoints are created',
    )
    .addOption(
      new Option(
        '--first-enrollment <how>',
        "whether strict mode waits for a namespace's first enrollment (available) or not (closed)",
      ).choices(['available', 'closed']),
    )
    .option('--api-listen <addr:port>', 'address for the APIs behind APIServices (default: not served)')
    .addOption(
      new Option('--api-groups <groups...>', 'which of these APIs are served').choices(apiGroups).default([]),
    )
    .requiredOption('--state <dir>', 'directory for roots, CA and token keys')
    .requiredOption('--listen <addr:port>', 'address for discovery and certificates')
    .option('--metrics-listen <addr:port>', 'address for Prometheus')
    .option('--peer-token <file>', "with --kubernetes: this replica's token for calls to other replicas")
    .option(
      '--metrics-token <file>',
      'file with the bearer token that lets remote clients read metrics with names',
    )
    .option(
      '--otlp-metrics-endpoint <url>',
      'OTLP/HTTP collector for metrics, such as http://collector:4318/v1/metrics (default: they are only served)',
      otlpUrl,
    )
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--enrol-none', 'unenroll every pod')
    .option('--cert-ttl-s <seconds>', 'lifetime of workload certificates', seconds)
    .option('--jwks-allow-http', 'fetch keys of token issuers by http, too')
    .option(
      '--jwks-allow-cidrs <cidrs...>',
      'address blocks that are not public from which keys of token issuers may be fetched',
    )
    .action(async (flags: ServeFlags) => {
      const control = await runControl(await optionsOf(flags));
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => {
          void control.close().finally(() => process.exit(0));
        });
      }
    });
}

/** Builds the options from the flags. Errors: WEFT_SOURCE, those of loadKubeConfig() and waypointDefaults(). */
async function optionsOf({
  kubernetes,
  namespace,
  caSecret,
  agentAccount,
  identity,
  serverName,
  waypoint,
  firstEnrollment,
  apiListen,
  apiGroups: groups,
  peerToken,
  ...rest
}: ServeFlags): Promise<ControlOptions> {
  if ((kubernetes === true) === (rest.from !== undefined))
    throw new UsageError('WEFT_SOURCE', 'give either --from, with directories of manifests, or --kubernetes');
  if (kubernetes !== true && apiListen !== undefined)
    throw new UsageError(
      'WEFT_SOURCE',
      '--api-listen requires --kubernetes: the API server authenticates and authorizes its users',
    );
  if (apiListen === undefined && groups.length > 0)
    throw new UsageError(
      'WEFT_SOURCE',
      '--api-groups requires --api-listen: without an address none of the APIs is served',
    );
  if (apiListen !== undefined && groups.length === 0)
    throw new UsageError('WEFT_SOURCE', '--api-listen requires --api-groups: which of the APIs are served');
  if (kubernetes !== true) return rest;
  if (rest.rootNamespace !== undefined)
    throw new UsageError(
      'WEFT_SOURCE',
      "--root-namespace requires --from: on Kubernetes the root namespace is the control plane's own",
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
      ...(apiListen === undefined ? {} : { api: { listen: apiListen, groups } }),
      ...(peerToken === undefined ? {} : { peerToken }),
      ...(waypoint === undefined ? {} : { waypoint: waypointDefaults(waypoint) }),
    },
  };
}
