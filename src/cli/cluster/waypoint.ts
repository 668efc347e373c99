/** `weft waypoint`: Gateways of class weft-waypoint on the cluster of KUBECONFIG, and the namespaces and Services that use them. */
import type { KubeConfig } from '@kubernetes/client-node';
import { Command, Option } from 'commander';
import { jsonOption, namespaceOption } from '../place.js';
import { errorText, WeftError } from '../../base/errors.js';
import { sleep } from '../../base/wait.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { getOptional } from '../../kubernetes/get.js';
import { requestJson } from '../../kubernetes/request.js';
import { waypointNamedBy } from '../../findings/waypoints.js';
import {
  gatewayClassName,
  gatewayNameLabel,
  listLines,
  statusLines,
  waypointStatuses,
  type DeploymentItem,
  type GatewayItem,
  type Labelled,
  type WaypointStatus,
} from './waypoint-status.js';

const group = 'gateway.networking.k8s.io';
const defaultName = 'waypoint';
const kindsUrl =
  'https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.0/standard-install.yaml';
const label = 'weft.dev/waypoint';
const namespaceLabel = 'weft.dev/waypoint-namespace';
const waitMs = 500;

const gatewaysPath = (namespace: string, name = ''): string =>
  `/apis/${group}/v1/namespaces/${namespace}/gateways${name === '' ? '' : `/${name}`}`;

/** Errors: WEFT_GATEWAY_API, ApiError. */
async function requireKinds(config: KubeConfig): Promise<void> {
  const found = await getOptional<{ resources?: readonly { readonly name: string }[] }>(
    config,
    `/apis/${group}/v1`,
  );
  if (found?.resources?.some(({ name }) => name === 'gateways') === true) return;
  throw new WeftError(
    'WEFT_GATEWAY_API',
    `the cluster does not have the CRDs of the Gateway API: kubectl apply --server-side -f ${kindsUrl}`,
  );
}

async function itemsAt<T>(config: KubeConfig, path: string): Promise<readonly T[]> {
  return ((await requestJson(config, 'GET', path)) as { items: readonly T[] }).items;
}

const placePath = (namespace: string | undefined): string =>
  namespace === undefined ? '' : `/namespaces/${namespace}`;
const gatewaysOf = (config: KubeConfig, namespace: string | undefined): Promise<readonly GatewayItem[]> =>
  itemsAt(config, `/apis/${group}/v1${placePath(namespace)}/gateways`);
const deploymentsOf = (
  config: KubeConfig,
  namespace: string | undefined,
): Promise<readonly DeploymentItem[]> => {
  const query = new URLSearchParams({ labelSelector: gatewayNameLabel });
  return itemsAt(config, `/apis/apps/v1${placePath(namespace)}/deployments?${query}`);
};

/** Waypoints of a namespace. Default: of all namespaces. Errors: WEFT_GATEWAY_API, ApiError. */
async function readWaypoints(config: KubeConfig, namespace?: string): Promise<WaypointStatus[]> {
  await requireKinds(config);
  const [gateways, deployments, namespaces, services] = await Promise.all([
    gatewaysOf(config, namespace),
    deploymentsOf(config, namespace),
    // Objects of other namespaces may name the waypoint too.
    itemsAt<Labelled>(config, '/api/v1/namespaces'),
    itemsAt<Labelled>(config, '/api/v1/services'),
  ]);
  return waypointStatuses({ gateways, deployments, namespaces, services });
}

/**
 * The same without who uses them, for an account that may not read the objects that name them. Errors: WEFT_GATEWAY_API, ApiError.
 * @returns `deploymentsWhy`: why replicas are not known, if they could not be read
 */
export async function readWaypointPrograms(
  config: KubeConfig,
  namespace?: string,
): Promise<{ readonly waypoints: readonly WaypointStatus[]; readonly deploymentsWhy?: string }> {
  await requireKinds(config);
  const gateways = await gatewaysOf(config, namespace);
  const none = { namespaces: [], services: [] };
  try {
    const deployments = await deploymentsOf(config, namespace);
    return { waypoints: waypointStatuses({ gateways, deployments, ...none }) };
  } catch (error) {
    const waypoints = waypointStatuses({ gateways, deployments: [], ...none });
    return { waypoints, deploymentsWhy: errorText(error) };
  }
}

/** Errors: WEFT_WAYPOINT_UNKNOWN, and those of readWaypoints. */
async function readWaypoint(config: KubeConfig, namespace: string, name: string): Promise<WaypointStatus> {
  const found = (await readWaypoints(config, namespace)).find((one) => one.name === name);
  if (found) return found;
  throw new WeftError(
    'WEFT_WAYPOINT_UNKNOWN',
    `there is no waypoint ${namespace}/${name}: weft waypoint list shows all`,
  );
}

/** Server-side apply with only these fields. Fields of other owners are kept. */
const applyAt = (config: KubeConfig, path: string, body: object): Promise<unknown> =>
  requestJson(config, 'PATCH', `${path}?fieldManager=weft&force=true`, body);

/** Replaces the object with changed labels. Server-side apply could not remove a label that another field manager owns. */
async function setLabels(
  config: KubeConfig,
  path: string,
  change: (labels: Record<string, string>) => void,
): Promise<void> {
  const object = (await requestJson(config, 'GET', path)) as Labelled;
  const labels = { ...object.metadata.labels };
  change(labels);
  await requestJson(config, 'PUT', path, { ...object, metadata: { ...object.metadata, labels } });
}

export interface ApplyFlags {
  readonly namespace: string;
  readonly name: string;
  readonly forNamespace?: boolean;
  readonly overwrite?: boolean;
  readonly wait?: boolean;
  readonly timeoutS: number;
}

/** Errors: WEFT_GATEWAY_API, WEFT_TIMEOUT, WEFT_WAYPOINT_FOREIGN, WEFT_WAYPOINT_LABEL, ApiError. */
async function applyWaypoint(config: KubeConfig, flags: ApplyFlags): Promise<void> {
  const { namespace, name } = flags;
  await requireKinds(config);
  const space = (await requestJson(config, 'GET', `/api/v1/namespaces/${namespace}`)) as Labelled;
  const other = waypointNamedBy(space, namespace);
  const clash = flags.forNamespace === true && other !== undefined && other !== `${namespace}/${name}`;
  if (clash && flags.overwrite !== true) {
    throw new WeftError(
      'WEFT_WAYPOINT_LABEL',
      `namespace ${namespace} uses the waypoint ${other} already: --overwrite replaces it`,
    );
  }
  const path = gatewaysPath(namespace, name);
  const there = await getOptional<GatewayItem>(config, path);
  if (there && there.spec.gatewayClassName !== gatewayClassName) {
    throw new WeftError(
      'WEFT_WAYPOINT_FOREIGN',
      `Gateway ${namespace}/${name} is of class ${there.spec.gatewayClassName}: choose another name by --name`,
    );
  }
  if (there) console.log(`Gateway ${namespace}/${name} exists`);
  else {
    await applyAt(config, path, {
      apiVersion: `${group}/v1`,
      kind: 'Gateway',
      metadata: { name, namespace },
      spec: { gatewayClassName, listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }] },
    });
    console.log(`Gateway ${namespace}/${name} made`);
  }
  // Requests to the namespace are refused until its waypoint is ready, so the waypoint is created before the label is set.
  if (flags.wait ?? flags.forNamespace === true)
    await waitForProgrammed(config, namespace, name, flags.timeoutS);
  if (flags.forNamespace !== true) return;
  await setLabels(config, `/api/v1/namespaces/${namespace}`, (labels) => {
    labels[label] = name;
    delete labels[namespaceLabel];
  });
  console.log(
    `namespace ${namespace} labeled ${label}=${name}: requests to its Services go through the waypoint`,
  );
}

async function waitForProgrammed(
  config: KubeConfig,
  namespace: string,
  name: string,
  timeoutS: number,
): Promise<void> {
  const endMs = Date.now() + timeoutS * 1000;
  for (;;) {
    const status = await readWaypoint(config, namespace, name);
    if (status.programmed) {
      console.log(`waypoint ${namespace}/${name} is ready at ${status.addresses.join(', ')}`);
      return;
    }
    if (Date.now() >= endMs) {
      throw new WeftError(
        'WEFT_TIMEOUT',
        `waypoint ${namespace}/${name} was not ready in ${timeoutS} s: ${status.why}`,
      );
    }
    await sleep(waitMs);
  }
}

/** Errors: WEFT_WAYPOINT_IN_USE, and those of readWaypoint. */
async function deleteWaypoint(
  config: KubeConfig,
  {
    namespace,
    name,
    unlabel,
    force,
  }: { namespace: string; name: string; unlabel?: boolean; force?: boolean },
): Promise<void> {
  const { users } = await readWaypoint(config, namespace, name);
  if (users.length > 0 && unlabel !== true && force !== true) {
    throw new WeftError(
      'WEFT_WAYPOINT_IN_USE',
      `${users.join(', ')} use ${namespace}/${name}, and requests to them would be refused without it: --unlabel removes their labels first, --force deletes the waypoint anyway`,
    );
  }
  for (const user of unlabel === true ? users : []) {
    const [, of, service] = /^Service (.*)\/(.*)$/.exec(user) ?? [];
    const path =
      service === undefined ? `/api/v1/namespaces/${user}` : `/api/v1/namespaces/${of}/services/${service}`;
    await setLabels(config, path, (labels) => {
      for (const key of [label, namespaceLabel, 'istio.io/use-waypoint', 'istio.io/use-waypoint-namespace'])
        delete labels[key];
    });
    console.log(`${service === undefined ? `namespace ${user}` : user} does not use it any more`);
  }
  await requestJson(config, 'DELETE', gatewaysPath(namespace, name));
  console.log(`Gateway ${namespace}/${name} and its objects deleted`);
}

const ownNamespace = (): Option =>
  new Option('-n, --namespace <name>', 'namespace of the waypoint').default('default');

export function waypointCommand(): Command {
  const command = new Command('waypoint').description('manage waypoints on the cluster of KUBECONFIG');
  command
    .command('apply')
    .description('create a waypoint: a Gateway of class weft-waypoint')
    .addOption(ownNamespace())
    .option('--name <name>', 'name of the Gateway', defaultName)
    .option(
      '--for-namespace',
      'label the namespace, so that requests to its Services go through the waypoint',
    )
    .option('--overwrite', 'with --for-namespace: replace another waypoint of the namespace')
    .option('--wait', 'wait until it is ready (default with --for-namespace)')
    .option('--no-wait', 'label the namespace at once: requests are refused until the waypoint is ready')
    .option('--timeout-s <seconds>', 'time limit for --wait', Number, 120)
    .action(async (flags: ApplyFlags) => applyWaypoint(await loadKubeConfig(), flags));
  const status = command
    .command('status')
    .description('show one waypoint; exit code 1 if it is not programmed')
    .argument('[name]', 'name of the Gateway', defaultName)
    .addOption(ownNamespace());
  jsonOption(status).action(async (name: string, flags: { namespace: string; json?: boolean }) => {
    const found = await readWaypoint(await loadKubeConfig(), flags.namespace, name);
    console.log(flags.json === true ? JSON.stringify(found) : [...statusLines(found)].join('\n'));
    process.exitCode = found.programmed ? 0 : 1;
  });
  jsonOption(namespaceOption(command.command('list').description('list waypoints'))).action(
    async ({ namespace, json }: { namespace?: string; json?: boolean }) => {
      const all = await readWaypoints(await loadKubeConfig(), namespace);
      if (json === true) return console.log(JSON.stringify(all));
      console.log(
        all.length === 0 ? 'no waypoints: weft waypoint apply creates one' : [...listLines(all)].join('\n'),
      );
    },
  );
  command
    .command('delete')
    .description('delete a waypoint that nothing uses')
    .argument('[name]', 'name of the Gateway', defaultName)
    .addOption(ownNamespace())
    .option('--unlabel', 'first remove the labels that name it from namespaces and Services')
    .option('--force', 'delete it even if it is used; requests to its users are then refused')
    .action(async (name: string, flags: { namespace: string; unlabel?: boolean; force?: boolean }) =>
      deleteWaypoint(await loadKubeConfig(), { ...flags, name }),
    );
  return command;
}
