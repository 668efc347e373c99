/** `weft waypoint`: Gateways of class weft-waypoint on the cluster of KUBECONFIG, and who goes through them. */
import type { KubeConfig } from '@kubernetes/client-node';
import { Command } from 'commander';
import { WeftError } from '../../base/errors.js';
import { sleep } from '../../base/wait.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import { getOptional } from '../../kubernetes/get.js';
import { requestJson } from '../../kubernetes/request.js';
import { admitsNamespace, type AllowedRoutes } from '../../kubernetes/allowed-routes.js';
import { waypointNamedBy } from '../../findings/waypoints.js';
import { table } from './table.js';

const group = 'gateway.networking.k8s.io';
const gatewayClassName = 'weft-waypoint';
const defaultName = 'waypoint';
const kindsUrl =
  'https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.0/standard-install.yaml';
const label = 'weft.dev/waypoint';
const namespaceLabel = 'weft.dev/waypoint-namespace';
const waitMs = 500;

interface Meta {
  readonly name: string;
  readonly namespace?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
}
export interface Labelled {
  readonly metadata: Meta;
}
interface ConditionItem {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly observedGeneration?: number;
}
export interface GatewayItem extends Labelled {
  readonly spec: {
    readonly gatewayClassName: string;
    readonly listeners?: readonly { readonly protocol: string; readonly allowedRoutes?: AllowedRoutes }[];
  };
  readonly status?: {
    readonly addresses?: readonly { readonly value?: string }[];
    readonly conditions?: readonly ConditionItem[];
  };
}
export interface DeploymentItem extends Labelled {
  readonly spec: { readonly replicas?: number };
  readonly status?: { readonly availableReplicas?: number };
}

export interface WaypointStatus {
  readonly namespace: string;
  readonly name: string;
  readonly programmed: boolean;
  /** Why it is not; for people. */
  readonly why?: string;
  readonly addresses: readonly string[];
  readonly available: number;
  readonly wanted: number;
  /** Namespaces and `Service <namespace>/<name>` whose labels name it and that it serves. */
  readonly users: readonly string[];
  /** Those whose labels name it and that its Gateway does not admit: they are closed. */
  readonly refused: readonly string[];
}

export interface WaypointObjects {
  readonly gateways: readonly GatewayItem[];
  readonly deployments: readonly DeploymentItem[];
  readonly namespaces: readonly Labelled[];
  readonly services: readonly Labelled[];
}

/** Pure. */
export function waypointStatuses(objects: WaypointObjects): WaypointStatus[] {
  const users = new Map<string, { readonly who: string; readonly namespace: string }[]>();
  const use = (whom: string | undefined, who: string, namespace: string): void => {
    if (whom !== undefined) users.set(whom, [...(users.get(whom) ?? []), { who, namespace }]);
  };
  for (const one of objects.namespaces)
    use(waypointNamedBy(one, one.metadata.name), one.metadata.name, one.metadata.name);
  for (const one of objects.services) {
    const { namespace = 'default', name } = one.metadata;
    use(waypointNamedBy(one, namespace), `Service ${namespace}/${name}`, namespace);
  }
  const labelsOf = new Map(objects.namespaces.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  return objects.gateways
    .filter(({ spec }) => spec.gatewayClassName === gatewayClassName)
    .map(({ metadata, spec, status }) => {
      const { namespace = 'default', name, generation = 0 } = metadata;
      const named = users.get(`${namespace}/${name}`) ?? [];
      const isAdmitted = (user: { readonly namespace: string }): boolean =>
        admitsNamespace(namespace, spec.listeners, user.namespace, labelsOf.get(user.namespace) ?? {});
      const deployment = objects.deployments.find(
        (one) => one.metadata.name === name && (one.metadata.namespace ?? 'default') === namespace,
      );
      const said = status?.conditions?.find(({ type }) => type === 'Programmed');
      const current = said?.observedGeneration === generation;
      const programmed = current && said.status === 'True';
      const why = current
        ? `${said.reason}: ${said.message}`
        : 'no control plane has said anything of it yet: weft status';
      return {
        namespace,
        name,
        programmed,
        ...(programmed ? {} : { why }),
        addresses: (status?.addresses ?? []).flatMap(({ value }) => (value === undefined ? [] : [value])),
        available: deployment?.status?.availableReplicas ?? 0,
        wanted: deployment?.spec.replicas ?? (deployment ? 1 : 0),
        users: named.filter(isAdmitted).map(({ who }) => who),
        refused: named.filter((user) => !isAdmitted(user)).map(({ who }) => who),
      };
    })
    .sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
}

const notAdmitted = 'does not admit it: allowedRoutes.namespaces of its HBONE listener';
const nobody = 'nobody: label a namespace or a Service weft.dev/waypoint=<name>';

export function* listLines(all: readonly WaypointStatus[]): Generator<string> {
  yield* table([
    ['NAMESPACE', 'NAME', 'PROGRAMMED', 'ADDRESS', 'REPLICAS', 'USED BY'],
    ...all.map(({ namespace, name, programmed, addresses, available, wanted, users }) => [
      namespace,
      name,
      programmed ? 'yes' : 'no',
      addresses.join(',') || '-',
      `${available} of ${wanted}`,
      users.length > 3 ? `${users.length} namespaces and Services` : users.join(', ') || 'nobody',
    ]),
  ]);
  const troubled = all.filter(({ why }) => why !== undefined);
  if (troubled.length > 0) {
    yield '';
    yield* table([
      ['NOT PROGRAMMED', 'WHY'],
      ...troubled.map(({ namespace, name, why = '' }) => [`${namespace}/${name}`, why]),
    ]);
  }
  const refused = all.flatMap(({ namespace, name, refused: of }) =>
    of.map((who) => [who, `${namespace}/${name} ${notAdmitted}`]),
  );
  if (refused.length === 0) return;
  yield '';
  yield* table([['CLOSED', 'WHY'], ...refused]);
}

export function* statusLines(status: WaypointStatus): Generator<string> {
  const { namespace, name, programmed, why, addresses, available, wanted, users, refused } = status;
  yield* table([
    ['waypoint', `${namespace}/${name}`],
    ['programmed', programmed ? 'yes' : `no: ${why}`],
    ['address', addresses.join(', ') || 'none'],
    ['replicas', `${available} of ${wanted} available`],
    ['used by', users[0] ?? nobody],
    ...users.slice(1).map((user) => ['', user]),
    ...refused.map((user, at) => [at === 0 ? 'closed' : '', `${user}: it ${notAdmitted}`]),
  ]);
}

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
    `the cluster does not have the kinds of the Gateway API: kubectl apply --server-side -f ${kindsUrl}`,
  );
}

async function itemsAt<T>(config: KubeConfig, path: string): Promise<readonly T[]> {
  return ((await requestJson(config, 'GET', path)) as { items: readonly T[] }).items;
}

/** Of a namespace, or of all where none is given. Errors: WEFT_GATEWAY_API, ApiError. */
async function readWaypoints(config: KubeConfig, namespace?: string): Promise<WaypointStatus[]> {
  await requireKinds(config);
  const place = namespace === undefined ? '' : `/namespaces/${namespace}`;
  const [gateways, deployments, namespaces, services] = await Promise.all([
    itemsAt<GatewayItem>(config, `/apis/${group}/v1${place}/gateways`),
    itemsAt<DeploymentItem>(
      config,
      `/apis/apps/v1${place}/deployments?labelSelector=${group}%2Fgateway-name`,
    ),
    // Other namespaces' may name it too.
    itemsAt<Labelled>(config, '/api/v1/namespaces'),
    itemsAt<Labelled>(config, '/api/v1/services'),
  ]);
  return waypointStatuses({ gateways, deployments, namespaces, services });
}

/** Errors: WEFT_WAYPOINT_UNKNOWN, those of readWaypoints. */
async function readWaypoint(config: KubeConfig, namespace: string, name: string): Promise<WaypointStatus> {
  const found = (await readWaypoints(config, namespace)).find((one) => one.name === name);
  if (found) return found;
  throw new WeftError(
    'WEFT_WAYPOINT_UNKNOWN',
    `there is no waypoint ${namespace}/${name}: weft waypoint list`,
  );
}

/** With the fields that are given alone: others' stay. */
const applyAt = (config: KubeConfig, path: string, body: object): Promise<unknown> =>
  requestJson(config, 'PATCH', `${path}?fieldManager=weft&force=true`, body);

/** Whoever took the label on by other means owns it: it is set, not applied, so that it can be taken off again. */
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
      `namespace ${namespace} goes through the waypoint ${other} already: give --overwrite`,
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
  if (there) console.log(`Gateway ${namespace}/${name} is there`);
  else {
    await applyAt(config, path, {
      apiVersion: `${group}/v1`,
      kind: 'Gateway',
      metadata: { name, namespace },
      spec: { gatewayClassName, listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }] },
    });
    console.log(`Gateway ${namespace}/${name} made`);
  }
  // The namespace's requests are refused while its waypoint is not there: so the waypoint first.
  if (flags.wait ?? flags.forNamespace === true)
    await waitForProgrammed(config, namespace, name, flags.timeoutS);
  if (flags.forNamespace !== true) return;
  await setLabels(config, `/api/v1/namespaces/${namespace}`, (labels) => {
    labels[label] = name;
    delete labels[namespaceLabel];
  });
  console.log(`namespace ${namespace} labeled ${label}=${name}: its Services' requests go through it`);
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

/** Errors: WEFT_WAYPOINT_IN_USE, those of readWaypoint. */
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
      `${users.join(', ')}: what goes to them goes through ${namespace}/${name}, and would be refused without it; --unlabel takes the labels off first, --force deletes it all the same`,
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
    console.log(`${service === undefined ? `namespace ${user}` : user} goes through it no more`);
  }
  await requestJson(config, 'DELETE', gatewaysPath(namespace, name));
  console.log(`Gateway ${namespace}/${name} deleted, and with it what was made for it`);
}

export function waypointCommand(): Command {
  const command = new Command('waypoint').description('waypoints on the cluster of KUBECONFIG');
  command
    .command('apply')
    .description('make a waypoint: a Gateway of class weft-waypoint')
    .option('-n, --namespace <name>', 'where it runs', 'default')
    .option('--name <name>', 'of the Gateway', defaultName)
    .option('--for-namespace', 'send the requests to all Services of the namespace through it')
    .option('--overwrite', 'with --for-namespace: also where the namespace goes through another now')
    .option('--wait', 'until it is ready; so it is with --for-namespace')
    .option('--no-wait', 'label at once: requests are refused until it is ready')
    .option('--timeout-s <seconds>', 'how long to wait', Number, 120)
    .action(async (flags: ApplyFlags) => applyWaypoint(await loadKubeConfig(), flags));
  command
    .command('status')
    .description('of one waypoint: exit code 1 where it is not programmed')
    .argument('[name]', 'of the Gateway', defaultName)
    .option('-n, --namespace <name>', 'where it runs', 'default')
    .option('--json', 'for programs')
    .action(async (name: string, flags: { namespace: string; json?: boolean }) => {
      const status = await readWaypoint(await loadKubeConfig(), flags.namespace, name);
      console.log(flags.json === true ? JSON.stringify(status) : [...statusLines(status)].join('\n'));
      process.exitCode = status.programmed ? 0 : 1;
    });
  command
    .command('list')
    .description('of all namespaces, or of one')
    .option('-n, --namespace <name>', 'of this one alone')
    .option('--json', 'for programs')
    .action(async ({ namespace, json }: { namespace?: string; json?: boolean }) => {
      const all = await readWaypoints(await loadKubeConfig(), namespace);
      if (json === true) return console.log(JSON.stringify(all));
      console.log(all.length === 0 ? 'no waypoints: weft waypoint apply' : [...listLines(all)].join('\n'));
    });
  command
    .command('delete')
    .description('delete a waypoint that nobody goes through')
    .argument('[name]', 'of the Gateway', defaultName)
    .option('-n, --namespace <name>', 'where it runs', 'default')
    .option('--unlabel', 'take the labels that name it off namespaces and Services first')
    .option('--force', 'although requests that go through it are refused from then on')
    .action(async (name: string, flags: { namespace: string; unlabel?: boolean; force?: boolean }) =>
      deleteWaypoint(await loadKubeConfig(), { ...flags, name }),
    );
  return command;
}
