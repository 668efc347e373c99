/**
 * What the page (`weft dashboard`) shows at one moment, as JSON. The program that serves the page assembles it from what the caller may read; what
 * could not be read is named in `incomplete`, never shown as absent.
 */
import type { Change } from './change.js';
import type { EdgeReporter } from './edge-reporter.js';

/** A part of the snapshot that is read by itself. */
export type SnapshotPart =
  'programs' | 'workloads' | 'edges' | 'policies' | 'problems' | 'changes' | 'history';

export interface MeshSnapshot {
  /** Version of this form. */
  readonly format: 1;
  readonly takenMs: number;
  readonly mesh: {
    readonly kind: 'testbed' | 'cluster';
    /** Name of the testbed's directory or of the context of the kubeconfig. */
    readonly name: string;
    readonly version: string;
  };
  /** The counts of edges are of this window. */
  readonly fromMs: number;
  readonly programs: readonly ProgramState[];
  /** Kinds of programs of which not all are known, and why. Absent: none. */
  readonly programsUnread?: readonly ProgramsUnread[];
  readonly workloads: readonly WorkloadState[];
  readonly edges: readonly EdgeState[];
  /** Absent: it could not be read. */
  readonly history?: HistoryState;
  readonly policies: readonly PolicyState[];
  readonly problems: readonly Problem[];
  /** The newest first. */
  readonly changes: readonly Change[];
  /** What could not be read, and why: sentences. */
  readonly incomplete: readonly string[];
  /** Parts of which nothing could be read: their lists say nothing. Absent: none. */
  readonly unknown?: readonly SnapshotPart[];
  /** Parts of which something could not be read: what is not in them may be there. Absent: none. */
  readonly partial?: readonly SnapshotPart[];
}

export interface ProgramsUnread {
  readonly kind: ProgramState['kind'];
  readonly why: string;
}

export interface ProgramState {
  readonly kind: 'control-plane' | 'agent' | 'waypoint' | 'rate-limiter';
  /** Of an agent its node; of a waypoint `NAMESPACE/NAME`, with its pod. */
  readonly name: string;
  readonly version?: string;
  readonly health: 'ready' | 'not-ready' | 'unknown';
  /** Why it is not ready, or not known. */
  readonly why?: string;
  /** Whether it has the current configuration; absent: not known. */
  readonly isInSync?: boolean;
  /** When the first of its certificates expires; absent: not known, or it has none. */
  readonly certificateExpiresMs?: number;
  /** It needs no certificate, as an agent of a node without pods in the mesh. */
  readonly hasNoCertificate?: true;
}

export interface WorkloadState {
  /** `NAMESPACE/WORKLOAD`; ends of edges name it. */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly identity?: string;
  readonly pods: readonly { readonly name: string; readonly node: string; readonly isEnrolled?: boolean }[];
  readonly services: readonly string[];
  /** `NAMESPACE/NAME` of its waypoint. */
  readonly waypoint?: string;
  /** It was only seen in edges: outside of the mesh, or not readable. */
  readonly isObservedOnly?: boolean;
}

/** Percentiles in milliseconds. */
export interface Latencies {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** What was observed, added up. Shares and percentiles of nothing are absent. */
export interface TrafficState {
  readonly connections: number;
  readonly requests: number;
  /** Connections and requests that the mesh refused. */
  readonly refused: number;
  readonly audited: number;
  /** Of connections and requests. */
  readonly failures: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** 0 to 1, of requests that were not refused; absent: there was none. */
  readonly successShare?: number;
  readonly latencyMs?: Latencies;
  /** 0: not known. */
  readonly lastSeenMs: number;
}

/** What was observed over time, of the 15 minutes that the control plane keeps, whatever the window is. */
export interface HistoryState {
  /** Where the first interval begins. What was before is not known. */
  readonly fromMs: number;
  /** Length of the intervals. Counts are of the interval in which they were reported. */
  readonly slotMs: number;
  /** In the order of time. In an interval without a point nothing was reported. */
  readonly points: readonly HistoryPoint[];
}
export interface HistoryPoint {
  /** Where the interval begins. */
  readonly timeMs: number;
  readonly connections: number;
  readonly requests: number;
  readonly failures: number;
  readonly refused: number;
  /** 0 to 1, of requests that were not refused; absent: there was none. */
  readonly successShare?: number;
}

/** One pair of workloads, port and path; counts of the window. */
export interface EdgeState extends TrafficState {
  /** Stable between snapshots. */
  readonly id: string;
  /** Ids of workloads, or names of those that are not known. */
  readonly source: string;
  readonly destination: string;
  readonly service?: string;
  /** 0: not known. */
  readonly port: number;
  /** `kernel`, `local`, `hbone`, `waypoint`, `plain`, `refused`, … */
  readonly path: string;
  readonly security: 'mutual-tls' | 'same-node' | 'none' | 'unknown';
  /** Per second; over the time that was observed. Absent: not known, because that was too short. */
  readonly requestsPerSecond?: number;
  readonly connectionsPerSecond?: number;
  /** Policies that refused, or would have refused. */
  readonly policies: readonly string[];
  readonly routes: readonly RouteState[];
  /** Share of success in each interval from the beginning of `history`; null: no request. Absent: no requests, or no history. */
  readonly shares?: readonly (number | null)[];
}

/** Requests of one method and path template. */
export interface RouteState {
  readonly method: string;
  readonly pathTemplate: string;
  readonly requests: number;
  readonly failures: number;
  readonly latencyMs?: Latencies;
}

export interface PolicyState {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly action: 'allow' | 'deny' | 'other';
  readonly isAudited: boolean;
  /** Ids of the workloads that it applies to. */
  readonly workloads: readonly string[];
  /** Who is allowed or denied to do what: a sentence for each rule. */
  readonly rules: readonly string[];
  /** Connections and requests that it refused, or would have refused, in the window. */
  readonly refused: number;
  readonly audited: number;
}

export interface Problem {
  readonly level: 'warn' | 'fail';
  /** `KIND NAMESPACE/NAME` of the object that it is about, or `File NAME` of one that cannot be read; absent: none. */
  readonly object?: string;
  readonly what: string;
  /** What to do about it. */
  readonly help?: string;
}

/** A line of the live tap on the page: a request at a waypoint, or a connection at an agent. Headers that carry secrets are not in it. */
export interface TapEvent {
  readonly kind: 'request' | 'connection';
  readonly timeMs: number;
  readonly id: string;
  /** The node or waypoint that saw it. */
  readonly reporter: string;
  /** On which side it was seen. A connection between two nodes is seen by both. */
  readonly seenBy?: EdgeReporter;
  readonly source: TapParty;
  readonly destination: TapParty & { readonly service?: string; readonly port: number };
  readonly path: string;
  readonly outcome: 'allowed' | 'refused' | 'failed';
  readonly request?: {
    readonly method: string;
    readonly path: string;
    readonly status: number;
    readonly durationMs: number;
  };
  /** Of a connection: how long it was open. Absent: it has just been opened. */
  readonly durationMs?: number;
  readonly bytesSent?: number;
  readonly bytesReceived?: number;
  readonly policy?: string;
  /** Policies in audit mode that would have refused it. */
  readonly audited?: readonly string[];
  readonly code?: string;
  readonly why?: string;
}
export interface TapParty {
  readonly namespace: string;
  readonly workload: string;
  readonly pod: string;
  readonly identity?: string;
}
