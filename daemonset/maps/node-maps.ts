/** The maps of one generation, each with its only writer. kernel/verdicts.ts creates the writer of weft_verdicts (verdicts.ts). */
import { EndpointTable } from './endpoints.js';
import { ListenerTable } from './listeners.js';
import { LocalTable } from './local.js';
import { NegativeTable } from './negative.js';
import { NodeSlots } from './node.js';
import { PinnedMaps } from './pinned.js';
import { PodMaps } from './pod-maps.js';
import { ServiceTable } from './services.js';
import { SocketStorage } from './sock.js';

export class NodeMaps extends PinnedMaps {
  /** weft_node */
  readonly node = new NodeSlots(this);
  /** weft_local */
  readonly local = new LocalTable(this);
  /** weft_services */
  readonly services = new ServiceTable(this);
  /** weft_endpoints */
  readonly endpoints = new EndpointTable(this);
  /** weft_listeners */
  readonly listeners = new ListenerTable(this);
  /** weft_sock */
  readonly sock = new SocketStorage(this);
  /** weft_negative */
  readonly negative = new NegativeTable(this);
  /** weft_pods, the four maps of a pod's addresses, exclusions and probes, and the maps swept after a pod has left. */
  readonly pods = new PodMaps(this);
}
