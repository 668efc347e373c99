/** What a Job is told to measure, and what its last line says. Both ends are programs of one build. */
import { wholeRate, type Protocol } from '../load/fortio.js';

/** Of the chart's Services; `meter` of the server's pod alone. */
export const ports = { echo: 7000, bulk: 5201, http1: 8080, http2: 8081, grpc: 8079, meter: 7070 } as const;
export const weftMetricsPort = 15020;

export const protocols: readonly Protocol[] = ['http1', 'http2', 'grpc'];

export interface Rate {
  readonly point: string;
  /** Requests a second. */
  readonly perSecond: number;
}

export interface ClientPlan {
  /** How long each measurement takes. */
  readonly seconds: number;
  /** Address of the server's Service. */
  readonly service: string;
  /** Address of the server's pod: its meter is asked beside the mesh. */
  readonly serverPod: string;
  /** Addresses whose port 15020 tells what Weft's agents and waypoints spent. */
  readonly proxies: readonly string[];
  /** Envoy is in the pods: asked for its counters, and its processes are the proxies. */
  readonly sidecar: boolean;
  /** The open loops of each protocol. */
  readonly rates: Partial<Readonly<Record<Protocol, readonly Rate[]>>>;
  /** `trial`: whether everything answers, and how much a full load is. */
  readonly what: 'all' | 'trial';
}

export interface Measured {
  readonly workload: string;
  readonly point: string;
  readonly perSecondWanted?: number;
  readonly values: Readonly<Record<string, number>>;
  readonly short?: string;
}

export interface ClientReport {
  readonly samples: readonly Measured[];
  readonly failures: readonly { readonly workload: string; readonly point: string; readonly why: string }[];
  /** Of both ends' Envoys: `client <counter>`, which begins anew with each Job, and `server <counter>`. */
  readonly counters: Readonly<Record<string, number>>;
  /** Of programs in the image, in the trial. */
  readonly versions: Readonly<Record<string, string>>;
}

/** As bench/mesh/workloads.ts names them. */
export const workloadNames = {
  pingPong: 'ping-pong',
  churn: 'churn',
  bulk: 'bulk',
  capacity: (protocol: Protocol): string => `${protocol}-max`,
  atRate: (protocol: Protocol): string => protocol,
} as const;

export const messageBytes: Readonly<Record<string, number>> = { '128 B': 128, '16 KiB': 16 << 10 };
export const bulkStreams: Readonly<Record<string, number>> = { '1 stream': 1, '4 streams': 4 };
export const connectionsAtOnce = 8;
export const requestConnections = 16;
/** Before what counts of an open loop: connections, code and caches are warm. */
export const warmSeconds = 0.3;
/** Of what the slowest variant does at full speed. */
const sharesPercent = [30, 70] as const;
/** At least as many a second, so that every connection has some. */
const rateMin = requestConnections * 2;

/** The open loops of a placement: at what was asked for, else at shares of what its slowest variant did in the trials. Pure. */
export function ratesOf(
  trials: readonly ClientReport[],
  given: number | undefined,
  seconds: number,
): ClientPlan['rates'] {
  return Object.fromEntries(
    protocols.flatMap((protocol) => {
      if (given !== undefined)
        return [
          [
            protocol,
            [{ point: `${given}/s`, perSecond: wholeRate(given, requestConnections, seconds + warmSeconds) }],
          ],
        ];
      const reached = trials.flatMap(({ samples }) =>
        samples.flatMap(({ workload, values }) =>
          workload === workloadNames.capacity(protocol) ? (values['perSecond'] ?? []) : [],
        ),
      );
      if (reached.length === 0) return [];
      const slowest = Math.min(...reached);
      const rates = sharesPercent.map((share) => ({
        point: `${share} %`,
        perSecond: wholeRate(
          Math.max(rateMin, (slowest * share) / 100),
          requestConnections,
          seconds + warmSeconds,
        ),
      }));
      return [[protocol, rates]];
    }),
  );
}
