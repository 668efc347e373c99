/** A DestinationRule as TrafficPolicies, BackendTLSPolicies, and a Service for each subset. */
import { clientCertificateOption } from '../../../src/model/client-certificate.js';
import { fieldsOf, type Fields } from '../load.js';
import type { Block } from './block.js';
import type { Remarks } from './http-actions.js';
import { Reader } from './reader.js';
import { serviceNamed, serviceTarget, subsetService, type GivenService, type Services } from './services.js';
import { sectionsOf, type Sections } from './traffic-sections.js';

const keep = 'Weft reads the DestinationRule as it is: keep it';
/** Labels of a Service that its subsets need too: they are reached through the same waypoint. */
const waypointLabels = [
  'weft.dev/waypoint',
  'weft.dev/waypoint-namespace',
  'istio.io/use-waypoint',
  'istio.io/use-waypoint-namespace',
];

function trafficPolicy(metadata: Fields, targets: readonly Fields[], sections: Fields): Fields | undefined {
  if (Object.keys(sections).length === 0 || targets.length === 0) return undefined;
  return {
    apiVersion: 'weft.dev/v1alpha1',
    kind: 'TrafficPolicy',
    metadata,
    spec: { targetRefs: targets, ...sections },
  };
}

function tlsPolicy(
  metadata: Fields,
  targets: readonly Fields[],
  { tls }: Sections,
  host: string,
): Fields | undefined {
  if (!tls || targets.length === 0) return undefined;
  const names = tls.subjectAltNames.map((name) =>
    name.includes('://') ? { type: 'URI', uri: name } : { type: 'Hostname', hostname: name },
  );
  return {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'BackendTLSPolicy',
    metadata,
    spec: {
      targetRefs: targets,
      validation: {
        hostname: tls.hostname ?? host,
        wellKnownCACertificates: 'System',
        ...(names.length > 0 ? { subjectAltNames: names } : {}),
      },
      ...(tls.clientCertificate === undefined
        ? {}
        : { options: { [clientCertificateOption]: tls.clientCertificate } }),
    },
  };
}

export function convertDestinationRule(block: Block, services: Services): void {
  const { namespace, name, value } = block.source;
  const reader = new Reader(fieldsOf(value['spec']));
  const host = reader.text('host') ?? '';
  const service = serviceNamed(host, namespace);
  const refuse = (field: string, message: string): void =>
    block.lost(field, `${message}. Nothing of the object was converted. ${keep}`);
  if (!service)
    return refuse('host', `${host} is no Service of the cluster, and a TrafficPolicy is for Services`);
  if (service.namespace !== namespace)
    return refuse(
      'host',
      `a TrafficPolicy is for Services of its own namespace, and ${host} is of ${service.namespace}`,
    );
  if (reader.has('workloadSelector'))
    return refuse('workloadSelector', 'the rule is for some clients, and a TrafficPolicy would be for all');
  const exportTo = reader.texts('exportTo');
  if (exportTo.length > 0 && !exportTo.includes('*'))
    return refuse(
      'exportTo',
      'the rule is for clients of some namespaces, and a TrafficPolicy would be for all',
    );
  const remarks: Remarks = {
    lost: (field, message) => block.lost(field, message),
    differs: (field, message) => block.differs(field, message),
  };
  const add = (object: Fields | undefined): void => {
    if (object) block.add(object);
  };
  const given = services.get(namespace, service.name);
  const own = reader.child('trafficPolicy');
  const base = sectionsOf(own, remarks);
  const ports = own.children('portLevelSettings').map((one) => ({
    port: one.child('port').number('number'),
    made: sectionsOf(one, remarks),
    path: one.path,
  }));
  const named = new Set(ports.flatMap(({ port }) => port ?? []));
  // The settings of a port take the place of the object's, whatever they leave out.
  const others = given?.ports.filter(({ port }) => !named.has(port)) ?? [];
  const isSplit = named.size > 0;
  if (isSplit && !given && Object.keys(base.sections).length > 0)
    return refuse(
      'trafficPolicy.portLevelSettings',
      `the settings of a port take the place of the others, so the other ports must be known: add Service ${namespace}/${service.name} to the directory`,
    );
  const targets = isSplit
    ? others.map(({ port }) => serviceTarget(service.name, String(port)))
    : [serviceTarget(service.name)];
  add(trafficPolicy({ name, namespace }, targets, base.sections));
  add(tlsPolicy({ name, namespace }, [serviceTarget(service.name)], base, host));
  for (const { port, made } of ports) {
    if (port === undefined) continue;
    const metadata = { name: `${name}-${port}`, namespace };
    const target = [serviceTarget(service.name, String(port))];
    add(trafficPolicy(metadata, target, made.sections));
    add(tlsPolicy(metadata, target, made, host));
  }
  for (const subset of reader.children('subsets')) {
    const subsetName = subset.text('name') ?? '';
    const labels = subset.map('labels');
    const policy = subset.child('trafficPolicy');
    const made = sectionsOf(policy, remarks);
    if (!given) {
      block.lost(
        subset.path,
        `a Service with the selector and ports of ${namespace}/${service.name} and the labels ${JSON.stringify(labels)} takes its place: add the Service to the directory`,
      );
      continue;
    }
    const target = subsetService(service.name, subsetName);
    const number = block.add(subsetObject(given, target, labels));
    block.info(`${subset.path}: the Service ${target} stands for the subset, and routes name it`, {
      doc: number,
      path: [],
    });
    // Of each section the subset's own counts, otherwise the object's.
    add(
      trafficPolicy({ name: target, namespace }, [serviceTarget(target)], {
        ...base.sections,
        ...made.sections,
      }),
    );
    add(tlsPolicy({ name: target, namespace }, [serviceTarget(target)], made.tls ? made : base, host));
  }
  for (const path of reader.rest()) block.lost(path, 'a TrafficPolicy has nothing of the kind');
}

function subsetObject(service: GivenService, name: string, labels: Readonly<Record<string, string>>): Fields {
  const kept = Object.fromEntries(
    waypointLabels.flatMap((key) =>
      typeof service.labels[key] === 'string' ? [[key, service.labels[key]]] : [],
    ),
  );
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      namespace: service.namespace,
      ...(Object.keys(kept).length > 0 ? { labels: kept } : {}),
    },
    spec: {
      selector: { ...service.selector, ...labels },
      ports: service.ports.map(({ value }) =>
        Object.fromEntries(
          ['name', 'port', 'targetPort', 'protocol', 'appProtocol'].flatMap((key) =>
            value[key] === undefined ? [] : [[key, value[key]]],
          ),
        ),
      ),
    },
  };
}
