/**
 * Observes kernel flows like relayed connections: a connection record and metrics when a flow ends, and a list of open flows. A sweep
 * cuts the flows that the current policies deny.
 */
import { isV6, type IpAddress } from '../../src/model/address.js';
import { authorize, type ConnectionAttributes } from '../../src/policy/authorize.js';
import type { MeshView } from '../../src/state/store.js';
import { edgeOfConnection } from '../../src/telemetry/connection-edges.js';
import { openingOf, openRecord, type Opening } from '../../src/telemetry/connection-record.js';
import type { ConnectionLog, LineValues } from '../../src/telemetry/connection-log.js';
import type { MeshMetrics } from '../../src/telemetry/metrics.js';
import { closed, type Tally } from '../../src/telemetry/tallies.js';
import type { Datapath } from '../datapath/loader.js';
import type { FlowReader } from '../maps/flows.js';
import type { LocalPod } from '../worker-ipc.js';
import type { LiveTable } from '../maps/live.js';
import { liveFlags, type LiveRow, type RequestKey } from '../maps/rows.generated.js';
import { destroyTcp, type PodNetns, type TcpSocket } from '../pod/sockets.js';
import { recheck } from '../../src/path/choose-path.js';

const countedMax = 2 * 65_536;
const cutsMax = 1024;
/** Open flows that keep their edges visible, and how often. */
const touchedMax = 4096;
const touchMs = 60_000;
/** Age at which an entry is removed whose socket never sent a SYN. */
const unsentNsMax = 60_000_000_000n;
/** Maximum number of cached flow kinds. At the limit the cache is cleared. */
const kindsMax = 4096;

type FlowNames = Pick<
  LiveRow,
  'source' | 'destination' | 'saddr' | 'sport' | 'daddr' | 'dport' | 'dialled' | 'dialledPort'
>;

/** State shared by flows with the same source, destination and dialed address: their counters and log templates. */
interface FlowKind {
  readonly tally: Tally;
  readonly write: (values: LineValues) => void;
  /** For flows that the destination did not accept. */
  readonly writeRefused: (values: LineValues) => void;
}

export interface KernelFlowsOptions {
  readonly datapath: Datapath;
  readonly view: MeshView;
  readonly podOf: (cookie: bigint) => LocalPod | undefined;
  readonly metrics: MeshMetrics;
  readonly log: ConnectionLog;
  readonly onError: (error: unknown) => void;
}

export class KernelFlows {
  readonly #options: KernelFlowsOptions;
  #kinds = new Map<string, FlowKind>();
  readonly #cuts = new Map<number, string>();
  /** Socket cookies of open flows already counted as opened. */
  readonly #counted = new Set<number>();
  #unfinished = false;
  #touchedMs = 0;
  /** By network namespace cookie: pods that left the mesh and may still have kernel flows that they opened before. */
  readonly #left = new Map<bigint, LocalPod>();

  constructor(options: KernelFlowsOptions) {
    this.#options = options;
  }

  /**
   * A pod left the mesh. Its kernel flows continue, and those to enrolled pods stay subject to the policies of these pods, with the
   * pod's former identity. The path is dropped, since it may refer to another network namespace from now on.
   */
  podLeft({ pod, netns }: LocalPod): void {
    this.#left.set(netns.cookie, { pod, netns: { ...netns, path: '' } });
  }

  #sourceOf(live: Pick<LiveRow, 'source'>): LocalPod | undefined {
    return this.#options.podOf(live.source) ?? this.#left.get(live.source);
  }

  /** Drops the cached templates, after names, policies or pods changed. */
  forgetTemplates(): void {
    this.#kinds = new Map();
    this.#options.metrics.kernelFlows.clear();
  }

  /** Records and counts kernel flows that ended. */
  onFlows(flows: FlowReader): void {
    while (flows.next()) {
      const { sameness } = flows;
      let kind = this.#kinds.get(sameness);
      if (!kind) {
        if (this.#kinds.size >= kindsMax) this.forgetTemplates();
        this.#kinds.set(sameness, (kind = this.#kindOf(flows.live)));
      }
      const { tally } = kind;
      const { bytesSent, bytesReceived, durationMs } = flows;
      const established = (flows.flags & liveFlags.clientOpen) !== 0;
      const cut = this.#cuts.size > 0 ? this.#cuts.get(flows.id) : undefined;
      if (cut !== undefined) this.#cuts.delete(flows.id);
      (established ? kind.write : kind.writeRefused)({
        clientPort: flows.clientPort,
        bytesSent,
        bytesReceived,
        bytesSpliced: flows.bytesSpliced,
        durationMs,
        ended: cut !== undefined ? `cut: ${cut}` : established ? 'finished' : 'refused',
      });
      if (!established) {
        tally.refused++;
        continue;
      }
      if (this.#counted.size === 0 || !this.#counted.delete(flows.id)) tally.opened++;
      closed(tally, bytesSent, bytesReceived, durationMs);
    }
  }

  /** Counts open flows that were not counted as opened yet. Runs once per scrape, not per connection. */
  countOpen(): void {
    // Entries whose end report was lost would stay forever. Clearing counts an open flow twice at worst.
    if (this.#counted.size > countedMax) this.#counted.clear();
    for (const { id, live } of this.#all()) {
      if ((live.flags & liveFlags.clientOpen) === 0 || this.#counted.has(Number(id))) continue;
      this.#counted.add(Number(id));
      this.#options.metrics.apply({
        kind: 'opened',
        record: openRecord(this.#openingOf(live)),
      });
    }
  }

  /** For reports of edges: counts open flows, and once a minute keeps the edges of those visible that were counted before. */
  observeOpen(nowMs = Date.now()): void {
    if (nowMs - this.#touchedMs >= touchMs) {
      this.#touchedMs = nowMs;
      for (const { id, live } of this.#all().slice(0, touchedMax))
        if (this.#counted.has(Number(id)))
          this.#options.metrics.edges.touch(edgeOfConnection(openRecord(this.#openingOf(live))), nowMs);
    }
    this.countOpen();
  }

  #kindOf(live: LiveRow): FlowKind {
    const { log, metrics } = this.#options;
    const opening = this.#openingOf(live);
    const rest = { bytesSent: 0, bytesReceived: 0, durationMs: 0, ended: '' };
    return {
      tally: metrics.kernelFlows.of({ ...opening, ...rest }),
      write: log.template({ ...opening, ...rest }),
      writeRefused: log.template({
        ...opening,
        path: 'refused',
        code: 'WEFT_NOT_ACCEPTED',
        why: 'the destination did not accept the connection',
        ...rest,
      }),
    };
  }

  /** Open kernel flows, for `weft dump`. */
  describe(): object[] {
    return this.#all().map(({ id, live }) => ({
      id: String(id),
      ...this.#openingOf(live),
      ...countsOf(live),
      ageMs: Number((process.hrtime.bigint() - live.started) / 1_000_000n),
    }));
  }

  /** Socket cookies of both ends of all open kernel flows. */
  cookies(): Set<bigint> {
    return new Set(this.#all().flatMap(({ live }) => live.cookie));
  }

  /** The last sweep could not cut all flows that it had to cut: it must be repeated soon. */
  get isUnfinished(): boolean {
    return this.#unfinished;
  }

  /** Cuts the kernel flows that the current policies deny; both ends see a reset. Returns how many. */
  sweep(): number {
    let cut = 0;
    this.#unfinished = true;
    let failed = false;
    const living = new Set<number>();
    const sources = new Set<bigint>();
    const found = new Map<string, string | undefined>();
    const sockets = new Map<PodNetns, TcpSocket[]>();
    for (const { table, id, live } of this.#all()) {
      living.add(Number(id));
      sources.add(live.source);
      if (live.sport === 0) {
        if (process.hrtime.bigint() - live.started > unsentNsMax) table.remove?.(id);
        continue;
      }
      const source = this.#sourceOf(live);
      const destination = this.#options.podOf(live.destination);
      // Flows to a pod that left the mesh are not cut.
      if (!source || !destination) continue;
      const { saddr, sport, daddr, dport } = live;
      const asked = `${live.source} ${live.destination} ${saddr} ${daddr} ${dport}`;
      if (!found.has(asked))
        found.set(asked, recheck(this.#options.view, destination.pod.uid, this.#attributesOf(source, live)));
      const why = found.get(asked);
      if (why === undefined) continue;
      this.#cuts.set(Number(id), why);
      const client = { ip: saddr, port: sport };
      const server = { ip: daddr, port: dport };
      // Each end is identified by its socket's cookie: a reused four-tuple is another connection. One end is enough if the network
      // namespace of the other is unknown.
      if (source.netns.path !== '')
        addTo(sockets, source.netns, { local: client, remote: server, cookie: live.cookie[0] });
      if (live.cookie[1] !== 0n && destination.netns.path !== '')
        addTo(sockets, destination.netns, { local: server, remote: client, cookie: live.cookie[1] });
      cut++;
    }
    for (const cookie of this.#left.keys()) if (!sources.has(cookie)) this.#left.delete(cookie);
    for (const [netns, ends] of sockets) {
      try {
        destroyTcp(netns, ends);
      } catch (error) {
        failed = true;
        this.#options.onError(error);
      }
    }
    // If the kernel's ring lost the end report of a flow, its reason would stay forever.
    if (this.#cuts.size > cutsMax)
      for (const id of this.#cuts.keys()) if (!living.has(id)) this.#cuts.delete(id);
    this.#unfinished = failed;
    return cut;
  }

  #all(): { readonly table: LiveTable; readonly id: bigint; readonly live: LiveRow }[] {
    return this.#options.datapath
      .liveTables()
      .flatMap((table) => table.entries().map((entry) => ({ table, ...entry })));
  }

  /** The opening of the flows between two pods to one port, of which only the client's address is not known. */
  openingBetween({ source, destination, dialled, dialledPort, dport }: RequestKey): Opening {
    const { podOf } = this.#options;
    const addressOf = (cookie: bigint): IpAddress =>
      podOf(cookie)?.pod.addresses.find((ip) => isV6(ip) === isV6(dialled)) ?? dialled;
    return this.#openingOf({
      ...{ source, destination, dialled, dialledPort, dport },
      ...{ saddr: addressOf(source), daddr: addressOf(destination), sport: 0 },
    });
  }

  #attributesOf(source: LocalPod | undefined, live: FlowNames): ConnectionAttributes {
    return {
      identity: source?.pod.identity,
      sourceIp: live.saddr,
      destinationIp: live.daddr,
      destinationPort: live.dport,
    };
  }

  #openingOf(live: FlowNames): Opening {
    const { view, podOf } = this.#options;
    const source = this.#sourceOf(live);
    const destination = podOf(live.destination);
    const workload = destination && view.workload(destination.pod.uid);
    const verdict = workload && authorize(view.policiesFor(workload), this.#attributesOf(source, live));
    const service = view.serviceByAddress(live.dialled, source?.pod.namespace);
    return openingOf({
      direction: 'outbound',
      path: 'kernel',
      why: 'same-node-verdict',
      source: {
        address: { ip: live.saddr, port: live.sport },
        workload: source && view.workload(source.pod.uid),
        pod: source?.pod,
        identity: source?.pod.identity,
      },
      destination: {
        address: { ip: live.daddr, port: live.dport },
        workload,
        pod: destination?.pod,
        identity: destination?.pod.identity,
      },
      dialed: { ip: live.dialled, port: live.dialledPort },
      service,
      // The kernel has no verdict for a connection that a policy in audit mode would deny.
      verdict: verdict && { ...verdict, audited: [] },
    });
  }
}

function addTo<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

function countsOf(live: LiveRow): {
  bytesSent: number;
  bytesReceived: number;
  bytesSpliced: number;
} {
  return {
    bytesSent: Number(live.bytes[0]),
    bytesReceived: Number(live.bytes[1]),
    bytesSpliced: Number(live.spliced[0] + live.spliced[1]),
  };
}
