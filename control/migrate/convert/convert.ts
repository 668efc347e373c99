/** `weft migrate convert`: objects of Istio and Linkerd as those of the Gateway API and of Weft, one block of YAML per object. Pure. */
import { fieldsOf, groupOf, type Fields, type Loaded, type SourceObject } from '../load.js';
import { convertAuthorizationPolicy, type PolicyContext } from './authorization-policy.js';
import { Block, refusedBecause, type Note } from './block.js';
import { convertDestinationRule } from './destination-rule.js';
import { podMetadata } from '../mesh-settings.js';
import { convertGateway, convertNamespace, convertOtherIstio, convertServiceEntry } from './istio-other.js';
import { convertPeerAuthentication } from './istio-security.js';
import { LinkerdConverter } from './linkerd.js';
import { convertRequestAuthentication } from './request-authentication.js';
import { Services } from './services.js';
import { convertVirtualService, sharedHosts } from './virtual-service.js';

export interface ConvertOptions {
  /** Weft's root namespace. */
  readonly root: string;
  readonly istioRoot: string;
  /** Blocks of addresses of the cluster, for Linkerd's cluster-authenticated and cluster-unauthenticated. */
  readonly clusterNetworks: readonly string[];
}
export interface ConvertedFile {
  /** Empty: from a cluster. */
  readonly file: string;
  /** Empty: nothing of the file needs to be converted. */
  readonly text: string;
}
export interface Converted {
  readonly files: readonly ConvertedFile[];
  /** What is not in the output, one line each. */
  readonly lost: readonly string[];
  /** What is in the output in another way, one line each. */
  readonly differs: readonly string[];
  readonly documents: number;
}

function convertOne(block: Block, context: PolicyContext, linkerd: LinkerdConverter): void {
  const { kind, apiVersion, errors } = block.source;
  const group = groupOf(apiVersion);
  // A policy that cannot be read is closed.
  if (group === 'security.istio.io' && kind === 'AuthorizationPolicy')
    return convertAuthorizationPolicy(block, context);
  if (group === 'security.istio.io' && kind === 'RequestAuthentication')
    return convertRequestAuthentication(block, context);
  if (/(^|\.)linkerd\.io$/.test(group)) return linkerd.convert(block);
  if (kind === 'Namespace' && apiVersion === 'v1') {
    convertNamespace(block, context.sources);
    linkerd.namespace(block);
    return;
  }
  if (kind === 'Service' && apiVersion === 'v1') return linkerd.service(block);
  const metadata = podMetadata(block.source);
  if (metadata) return linkerd.workload(block, metadata);
  if (group === 'gateway.networking.k8s.io') {
    if (kind === 'Gateway') convertGateway(block);
    // Linkerd reads retries and timeouts from annotations of routes, too.
    else linkerd.annotations(block);
    return;
  }
  if (/(^|\.)smi-spec\.io$/.test(group))
    return block.lost('', 'Weft reads SMI as it is, and convert writes nothing for it: keep it');
  if (!/(^|\.)istio\.io$/.test(group)) return;
  if (kind === 'PeerAuthentication') return convertPeerAuthentication(block, context);
  if (errors.length > 0) {
    for (const error of errors) block.lost('', error);
    return;
  }
  if (kind === 'VirtualService') convertVirtualService(block, context.services, context.sharedHosts);
  else if (kind === 'DestinationRule') convertDestinationRule(block, context.services);
  else if (kind === 'ServiceEntry') convertServiceEntry(block);
  else convertOtherIstio(block);
}

/** What a policy selects, as far as it can be read: without it the policy is for its whole namespace. */
function closedSelection(object: Fields): Fields {
  const { selector } = fieldsOf(object['spec']);
  const probe = { ...object, spec: { action: 'DENY', ...(selector ? { selector } : {}), rules: [{}] } };
  return selector && refusedBecause(probe) === undefined ? { selector } : {};
}

/** A document that the control plane would refuse is a comment. A policy never is: its converter closes what has no form. */
function withoutRefused(block: Block): Block {
  const kept = new Block(block.source);
  kept.takeOver(block);
  for (const { object } of block.docs) {
    const why = refusedBecause(object);
    if (why === undefined) continue;
    const { name } = fieldsOf(object['metadata']);
    if (object['kind'] === 'AccessPolicy') {
      kept.replace(object, { ...object, spec: { ...closedSelection(object), action: 'DENY', rules: [{}] } });
      kept.lost('', `AccessPolicy ${String(name)}: ${why}: closed: all access is denied`);
      continue;
    }
    kept.remove(object);
    kept.lost(
      '',
      `${String(object['kind'])} ${String(name)} was not written, because the control plane would refuse it: ${why}`,
    );
  }
  return kept;
}

const lineOf = (block: Block, { field, message }: Note): string => {
  const { file, line } = block.source;
  const place = file === undefined ? '' : `${file}:${line}: `;
  return `${place}${block.name}: ${field === '' ? '' : `${field}: `}${message}`;
};

const namespacesOf = (sources: readonly SourceObject[]): string[] => [
  ...new Set(
    sources.flatMap((one) =>
      one.kind === 'Namespace'
        ? [one.name]
        : /^(Cluster|GatewayClass|Node$|CustomResource)/.test(one.kind)
          ? []
          : [one.namespace],
    ),
  ),
];

export function convert({ sources, problems }: Loaded, options: ConvertOptions): Converted {
  const services = new Services(sources);
  const context: PolicyContext = {
    services,
    sources,
    sharedHosts: sharedHosts(sources),
    istioRoot: options.istioRoot,
    root: options.root,
    namespaces: namespacesOf(sources).sort(),
  };
  const linkerd = new LinkerdConverter(sources, services, options.clusterNetworks);
  const byFile = new Map<string, Block[]>();
  for (const source of sources) {
    const block = new Block(source);
    convertOne(block, context, linkerd);
    const file = source.file ?? '';
    byFile.set(file, [...(byFile.get(file) ?? []), ...(block.isEmpty ? [] : [withoutRefused(block)])]);
  }
  const blocks = [...byFile.values()].flat();
  const linesOf = (what: Note['what']): string[] => [
    ...new Set(
      blocks.flatMap((block) =>
        block.notes.filter((note) => note.what === what).map((note) => lineOf(block, note)),
      ),
    ),
  ];
  return {
    files: [...byFile].map(([file, list]) => ({
      file,
      text: list.map((block) => block.text()).join('---\n'),
    })),
    lost: [
      ...problems.map(({ file, line, message }) => `${file}${line > 0 ? `:${line}` : ''}: ${message}`),
      ...linesOf('lost'),
    ],
    differs: linesOf('differs'),
    documents: blocks.reduce((sum, { docs }) => sum + docs.length, 0),
  };
}
