/**
 * The encoded discovery resources, by type and name, each with a version that is a hash of its bytes. A new subscription receives the
 * difference to the versions that it has; an existing one receives the resources that change.
 */
import { createHash } from 'node:crypto';
import { encodeService, encodeWorkload } from '../../src/discovery/codec/address.js';
import {
  encodeEnrolledNamespace,
  encodeNodePod,
  encodeTrust,
  encodeUncapturedPod,
  encodeWaypoint,
} from '../../src/discovery/codec/node-pod.js';
import { featuresOfRoute, routeWithout } from '../../src/discovery/capabilities.js';
import { encodeAuthorization } from '../../src/discovery/codec/policy.js';
import { encodeRoute } from '../../src/discovery/codec/route.js';
import { encodeServicePolicy } from '../../src/discovery/codec/service-policy.js';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { DeltaDiscoveryResponse, Resource as ResourceMessage } from '../../src/discovery/gen/discovery.js';
import type { ServicePolicy } from '../../src/model/service-policy.js';
import { typeUrls } from '../../src/discovery/types.js';
import { resourceName, type CompiledResource, type ResourceChanges } from '../compile/resource.js';

export interface EncodedResource {
  readonly version: string;
  /** envoy.service.discovery.v3.Resource, encoded once for all nodes. */
  readonly message: Uint8Array;
  /** Features that a waypoint may lack (capabilities.ts); absent: none. */
  readonly features?: readonly string[];
  /** Key sets of token issuers that it names, by URI; absent: none. */
  readonly keySets?: readonly string[];
}

/** Names of changed resources of one type, for all nodes or for one node. */
export interface ChangedNames {
  readonly typeUrl: string;
  readonly node: string | undefined;
  readonly names: ReadonlySet<string>;
}

const typeUrlOf: Readonly<Record<CompiledResource['kind'], string>> = {
  workload: typeUrls.address,
  service: typeUrls.address,
  policy: typeUrls.authorization,
  route: typeUrls.route,
  servicePolicy: typeUrls.servicePolicy,
  nodePod: typeUrls.nodePod,
  uncaptured: typeUrls.uncapturedPod,
  waypoint: typeUrls.waypoint,
  namespace: typeUrls.enrolledNamespace,
  trust: typeUrls.trust,
};
const served = new Set(Object.values(typeUrlOf));
const ofOneNode = new Set([
  typeUrlOf.nodePod,
  typeUrlOf.uncaptured,
  typeUrlOf.servicePolicy,
  typeUrlOf.waypoint,
]);

/** Encodes a resource in the form that nodes decode (src/discovery/codec). */
export function encodeResource(resource: CompiledResource): Uint8Array {
  switch (resource.kind) {
    case 'workload':
      return encodeWorkload(resource.value);
    case 'service':
      return encodeService(resource.value);
    case 'policy':
      return encodeAuthorization(resource.value);
    case 'route':
      return encodeRoute(resource.value);
    case 'servicePolicy':
      return encodeServicePolicy(resource.value);
    case 'nodePod':
      return encodeNodePod(resource.value);
    case 'uncaptured':
      return encodeUncapturedPod(resource.value);
    case 'waypoint':
      return encodeWaypoint(resource.value);
    case 'namespace':
      return encodeEnrolledNamespace(resource.value);
    case 'trust':
      return encodeTrust(resource.value);
  }
}

/** Undefined: the resource is as it was. */
function encoded(
  resource: CompiledResource,
  typeUrl: string,
  name: string,
  before: EncodedResource | undefined,
): EncodedResource | undefined {
  const bytes = encodeResource(resource);
  if (before?.version === versionOf(bytes)) return undefined;
  const features = resource.kind === 'route' ? featuresOfRoute(bytes) : [];
  const keySets = resource.kind === 'servicePolicy' ? keySetsOf(resource.value) : [];
  return {
    ...messageOf(typeUrl, name, bytes),
    ...(features.length > 0 ? { features } : {}),
    ...(keySets.length > 0 ? { keySets } : {}),
  };
}

/** The URIs of the key sets that the settings of a port name. */
const keySetsOf = ({ filters = [], clients = [] }: ServicePolicy): readonly string[] => [
  ...new Set(
    [filters, ...clients.map((client) => client.filters)]
      .flat()
      .flatMap((filter) => (filter.$case === 'jwt' ? filter.value.issuers.map(({ keysUri }) => keysUri) : []))
      .filter((uri) => uri !== ''),
  ),
];

const versionOf = (bytes: Uint8Array): string =>
  createHash('sha256').update(bytes).digest('base64url').slice(0, 16);

function messageOf(typeUrl: string, name: string, bytes: Uint8Array): EncodedResource {
  const value = Buffer.from(bytes);
  const version = versionOf(value);
  const message = ResourceMessage.encode({
    name,
    version,
    aliases: [],
    resource: { typeUrl, value },
  }).finish();
  return { version, message };
}

/** The resource as a waypoint receives it that lacks features: its rules that use them are closed. */
function formWithout(lacks: readonly string[], given: EncodedResource): EncodedResource {
  if (!given.features?.some((feature) => lacks.includes(feature))) return given;
  const { name, resource } = ResourceMessage.decode(given.message);
  return resource ? messageOf(resource.typeUrl, name, routeWithout(name, resource.value, lacks)) : given;
}

const resourcesTag = (2 << 3) | 2;
const removedTag = (6 << 3) | 2;
/**
 * The part of a DeltaDiscoveryResponse that many nodes share. responseOf() appends the fields of one stream: in protobuf, fields may have any
 * order, and concatenated messages are one message.
 */
function blockOf(resources: Iterable<EncodedResource>, removed: Iterable<string>): Buffer {
  const writer = new BinaryWriter();
  for (const { message } of resources) writer.uint32(resourcesTag).bytes(message);
  for (const name of removed) writer.uint32(removedTag).string(name);
  return Buffer.from(writer.finish());
}
/** A DeltaDiscoveryResponse of a shared block and the stream's own fields. */
export function responseOf(block: Buffer, typeUrl: string, nonce: string): Buffer {
  const own = DeltaDiscoveryResponse.encode({
    systemVersionInfo: '',
    resources: [],
    typeUrl,
    nonce,
    removedResources: [],
  });
  return Buffer.concat([block, own.finish()]);
}

const setKey = (typeUrl: string, node: string | undefined): string => `${typeUrl} ${node ?? ''}`;
const nothing: ReadonlyMap<string, EncodedResource> = new Map();

export class Resources {
  readonly #sets = new Map<string, Map<string, EncodedResource>>();
  /** Encoded whole sets, for nodes that have no resources of a type yet. */
  readonly #full = new Map<string, Buffer>();

  constructor(resources: Iterable<CompiledResource> = []) {
    this.apply({ updated: [...resources], removed: [] });
  }

  /** Applies compiled changes. Returns the names of the resources whose encoded form has changed. */
  apply({ updated, removed }: ResourceChanges): ChangedNames[] {
    const changed = new Map<string, { typeUrl: string; node: string | undefined; names: Set<string> }>();
    const mark = (typeUrl: string, node: string | undefined, name: string): void => {
      const key = setKey(typeUrl, node);
      let entry = changed.get(key);
      if (!entry) changed.set(key, (entry = { typeUrl, node, names: new Set() }));
      entry.names.add(name);
    };
    for (const one of removed) {
      const [typeUrl, node, name] = locationOf(one);
      const key = setKey(typeUrl, node);
      const set = this.#sets.get(key);
      if (!set?.delete(name)) continue;
      if (set.size === 0) this.#sets.delete(key);
      mark(typeUrl, node, name);
    }
    for (const one of updated) {
      const [typeUrl, node, name] = locationOf(one);
      const key = setKey(typeUrl, node);
      let set = this.#sets.get(key);
      if (!set) this.#sets.set(key, (set = new Map()));
      const now = encoded(one, typeUrl, name, set.get(name));
      if (!now) continue;
      set.set(name, now);
      mark(typeUrl, node, name);
    }
    for (const key of changed.keys()) this.#full.delete(key);
    return [...changed.values()].sort((a, b) => this.#rank(a) - this.#rank(b));
  }

  /** Services come before the routes that lead to them, and go after them: a request in between would have no backend. */
  #rank({ typeUrl, node, names }: ChangedNames): number {
    if (typeUrl === typeUrls.address) return 1;
    if (typeUrl !== typeUrls.route) return 2;
    const set = this.#sets.get(setKey(typeUrl, node));
    return [...names].some((name) => set?.has(name)) ? 3 : 0;
  }

  /**
   * The current resources of these names, or their removal.
   * @param lacks features that the reader lacks
   */
  block(typeUrl: string, node: string, names: ReadonlySet<string>, lacks: readonly string[] = []): Buffer {
    const set = this.of(typeUrl, node) ?? nothing;
    const there: EncodedResource[] = [];
    const removed: string[] = [];
    for (const name of names) {
      const found = set.get(name);
      if (found) there.push(formWithout(lacks, found));
      else removed.push(name);
    }
    return blockOf(there, removed);
  }

  /** The difference between what `node` has and the current resources; undefined for types that are not served. */
  difference(
    typeUrl: string,
    node: string,
    has: Readonly<Record<string, string>>,
    lacks: readonly string[] = [],
  ): Buffer | undefined {
    const set = this.of(typeUrl, node);
    if (!set) return undefined;
    const known = new Map(Object.entries(has));
    if (known.size === 0 && lacks.length > 0) return this.block(typeUrl, node, new Set(set.keys()), lacks);
    if (known.size === 0) {
      const key = setKey(typeUrl, ofOneNode.has(typeUrl) ? node : undefined);
      let full = this.#full.get(key);
      if (!full) {
        full = blockOf(set.values(), []);
        if (!ofOneNode.has(typeUrl)) this.#full.set(key, full);
      }
      return full;
    }
    const names = new Set<string>();
    for (const [name, one] of set) if (known.get(name) !== formWithout(lacks, one).version) names.add(name);
    for (const name of known.keys()) if (!set.has(name)) names.add(name);
    return this.block(typeUrl, node, names, lacks);
  }

  /** The URIs of the key sets that a waypoint's resources name. */
  keySetsOf(waypoint: string): ReadonlySet<string> {
    const uris = new Set<string>();
    for (const { keySets = [] } of this.of(typeUrls.servicePolicy, waypoint)?.values() ?? [])
      for (const uri of keySets) uris.add(uri);
    return uris;
  }

  isServed(typeUrl: string): boolean {
    return served.has(typeUrl);
  }

  /** The resources of a type that `node` may receive; undefined for types that are not served. */
  of(typeUrl: string, node: string): ReadonlyMap<string, EncodedResource> | undefined {
    if (!served.has(typeUrl)) return undefined;
    return this.#sets.get(setKey(typeUrl, ofOneNode.has(typeUrl) ? node : undefined)) ?? nothing;
  }
}

function locationOf(resource: CompiledResource): [typeUrl: string, node: string | undefined, name: string] {
  return [typeUrlOf[resource.kind], 'node' in resource ? resource.node : undefined, resourceName(resource)];
}
