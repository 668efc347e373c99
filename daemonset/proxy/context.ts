/** The dependencies of one worker's proxy; worker.ts owns them. */
import type { TunnelPool } from '../../src/hbone/pool.js';
import type { SpiffeId } from '../../src/model/identity.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { ConnectionRecord, Opening } from '../../src/telemetry/connection-record.js';
import type { HttpObservation } from '../../src/telemetry/http-observation.js';
import type { Svid } from '../../src/tls/svid.js';
import type { LocalPod } from '../worker-ipc.js';
import type { PodSockets } from '../pod/sockets.js';
import type { Connections } from './connections.js';

export interface ProxyContext {
  readonly node: string;
  readonly view: MeshView;
  readonly sockets: PodSockets;
  readonly pool: TunnelPool;
  readonly connections: Connections;
  /** A pod of this node that is in the mesh, whichever worker it is assigned to. */
  localPod(uid: WorkloadUid): LocalPod | undefined;
  /** Waits for a certificate that is being issued; undefined if none arrives in time. */
  svid(id: SpiffeId): Promise<Svid | undefined>;
  /** Requests a verdict, so that the next connection of this pair and port becomes a kernel flow. */
  requestVerdict(source: WorkloadUid, destination: WorkloadUid, port: number): void;
  /** Counts a reached limit, by its name. */
  limitReached(limit: 'connections' | 'connections-of-pod' | 'linger' | 'observed-connections'): void;
  opened(record: ConnectionRecord): void;
  closed(record: ConnectionRecord): void;
  /** A request passed on this connection. */
  observed(record: Opening, request: HttpObservation): void;
}
