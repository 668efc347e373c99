/** Compiles manifests to the view of nodes and plans connections there: for cells of docs/security.md that are pure decisions. */
import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import { compile, type Compiler } from '../../../control/compile/compile.js';
import { namespaceOf } from '../../../src/model/labels.js';
import type { MeshObject } from '../../../control/objects/objects.js';
import { pickFields } from '../../../control/kinds/kinds.js';
import { readObject } from '../../../control/source/validate.js';
import { kernelServices } from '../../../daemonset/kernel/services.js';
import { isKernelPathAllowed } from '../../../daemonset/kernel/verdicts.js';
import { planInboundPlain, planInboundTunnel, planOutbound } from '../../../src/path/choose-path.js';
import { parseSocketAddress } from '../../../src/model/address.js';
import type { NodePod } from '../../../src/model/node-pod.js';
import { candidatesOf } from '../../../src/state/resolve.js';
import type { MeshState } from '../../../src/state/store.js';
import { domain, identity as identityOf } from '../../support/mesh.js';
import { viewOf } from './compiled.js';

export interface Seen {
  readonly compiler: Compiler;
  readonly view: MeshState;
  /** Node-pod resources by `<namespace>/<name>`, each with the node that gets it. */
  readonly pods: ReadonlyMap<string, NodePod & { readonly node: string }>;
}

/** The objects of an API server, as the control plane reads them. */
function objectsOf(manifests: readonly string[]): MeshObject[] {
  return parseAllDocuments(manifests.join('\n---\n')).flatMap((document) => {
    const raw: unknown = document.toJS();
    if (raw === null) return [];
    const object = pickFields((raw as MeshObject).kind, raw);
    if (!object) return [];
    assert.equal(readObject(object).problem, undefined);
    return [object];
  });
}

/** The view of agents and waypoints: manifests after validation, compilation, encoding and decoding. */
export function see(...manifests: readonly string[]): Seen {
  const objects = objectsOf(manifests);
  const compiler = compile(objects, { trustDomain: domain, rootsVersion: '1' });
  const view = viewOf(compiler);
  const pods = new Map(
    [...compiler.all()].flatMap((one) =>
      one.kind === 'nodePod'
        ? [[`${one.value.namespace}/${one.value.name}`, { ...one.value, node: one.node }] as const]
        : [],
    ),
  );
  return { compiler, view, pods };
}

export const identity = (account: string) => {
  const [namespace = '', serviceAccount = ''] = account.split('/');
  return identityOf(namespace, serviceAccount);
};

/** The plan of a connection from a pod (`<namespace>/<name>`) to `ip:port`. */
export function outbound({ view, pods }: Seen, source: string, dialed: string, random = 0) {
  const pod = pods.get(source);
  const sourceIp = pod?.addresses[0];
  assert.ok(pod && sourceIp, source);
  return planOutbound(view, {
    source: pod,
    sourceIp,
    dialed: parseSocketAddress(dialed),
    node: pod.node,
    locality: (uid) =>
      [...pods.values()].some((one) => one.uid === uid && one.node === pod.node) ? 'joined' : 'elsewhere',
    random,
  });
}

/** The plan of a tunnel to a pod's port from `peer` (`<namespace>/<account>`), which states the identity `client`. */
export function tunnel(
  { view, pods }: Seen,
  destination: string,
  port: number,
  peer: string,
  client?: string,
) {
  const pod = pods.get(destination);
  const ip = pod?.addresses[0];
  assert.ok(pod && ip, destination);
  return planInboundTunnel(view, {
    pod,
    authority: { ip, port },
    local: ip,
    remote: parseSocketAddress('10.244.9.9:1').ip,
    peer: identity(peer),
    ...(client === undefined
      ? {}
      : { client: { identity: identity(client), ip: parseSocketAddress('10.244.9.8:1').ip } }),
  });
}

/**
 * All decisions about connections between pods of other namespaces than `tenant`, and from them to `destinations` (`ip:port`): paths,
 * endpoints, identities, policies, waypoints, verdicts for the kernel.
 */
export function decisions(
  seen: Seen,
  tenant: string,
  destinations: readonly string[],
): Readonly<Record<string, unknown>> {
  const { view, pods, compiler } = seen;
  const others = [...pods].filter(([name]) => !name.startsWith(`${tenant}/`)).map(([name]) => name);
  const found: Record<string, unknown> = {};
  for (const source of others) {
    for (const dialed of destinations)
      for (const random of [0, 0.67])
        found[`${source} to ${dialed} at ${random}`] = outbound(seen, source, dialed, random);
  }
  for (const destination of others) {
    const pod = pods.get(destination);
    const ip = pod?.addresses[0];
    assert.ok(pod && ip);
    for (const port of [80, 8080, 9090]) {
      for (const peer of [
        'bank/teller',
        'bank/waypoint',
        'shop/web',
        `${tenant}/waypoint`,
        `${tenant}/default`,
      ]) {
        for (const client of [undefined, 'bank/teller', `${tenant}/default`])
          found[`tunnel to ${destination}:${port} of ${peer} for ${client}`] = tunnel(
            seen,
            destination,
            port,
            peer,
            client,
          );
      }
      found[`plain to ${destination}:${port}`] = planInboundPlain(view, {
        pod,
        local: { ip, port },
        remote: parseSocketAddress('10.244.1.66:40000'),
      });
      for (const source of others) {
        const from = pods.get(source);
        assert.ok(from);
        const netns = { cookie: 0n, path: '' };
        found[`kernel ${source} to ${destination}:${port}`] =
          source !== destination &&
          isKernelPathAllowed(view, { pod: from, netns }, { pod, netns }, port, pod.node);
      }
    }
    const workload = view.workload(pod.uid);
    assert.ok(workload);
    found[`services before ${destination}`] = view.servicesOf(workload);
  }
  for (const { key, addresses, ports } of view.dump().services as ReturnType<
    MeshState['full']
  >['services'] & {}) {
    if (key.startsWith(`${tenant}/`)) continue;
    const service = view.service(key);
    for (const { servicePort } of ports)
      for (const { ip } of addresses)
        found[`endpoints of ${key}:${servicePort}`] =
          service && candidatesOf(view, service, { ip, port: servicePort }, 'n1');
  }
  for (const node of ['n1', 'n2']) {
    const local = [...pods.values()].filter((pod) => pod.node === node).map(({ uid }) => uid);
    const tables = kernelServices(view, local, node);
    // The tables may contain Services of the tenant, under their own addresses.
    for (const address of destinations) found[`kernel's ${address} on ${node}`] = tables.get(address);
  }
  for (const object of [...compiler.ofKind('Workload'), ...compiler.ofKind('ExternalService')])
    if (namespaceOf(object) !== tenant)
      found[`problem of ${object.kind} ${namespaceOf(object)}/${object.metadata.name}`] =
        compiler.problemOf(object);
  return found;
}
