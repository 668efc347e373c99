/** What one worker's proxy works with; worker.ts owns it. */
import type { TunnelPool } from '../../src/hbone/pool.js';
import type { SpiffeId } from '../../src/model/identity.js';
import type { WorkloadUid } from '../../src/model/workload.js';
import type { MeshView } from '../../src/state/store.js';
import type { ConnectionRecord } from '../../src/telemetry/connection-record.js';
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
  /** All pods of this node that are in the mesh, whoever of the workers owns them. */
  localPod(uid: WorkloadUid): LocalPod | undefined;
  /** Waits for a certificate that is on its way; undefined where none comes in time. */
  svid(id: SpiffeId): Promise<Svid | undefined>;
  /** Asks for a verdict, so that the kernel carries the next connection like this one. */
  requestVerdict(source: WorkloadUid, destination: WorkloadUid, port: number): void;
  /** A limit turned something away: counted by name. */
  limitReached(limit: 'connections' | 'connections-of-pod' | 'linger'): void;
  opened(record: ConnectionRecord): void;
  closed(record: ConnectionRecord): void;
}
