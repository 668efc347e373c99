/** The plan that a Job gets, and the report that it prints as its last line. Both programs are of one build. */
import { wholeRate, type Protocol } from '../load/fortio.js';

/** Ports of the chart's Services. `meter` is a port of the server's pod only. */
export const ports = { echo: 7000, bulk: 5201, http1: 8080, http2: 8081, grpc: 8079, meter: 7070 } as const;
export const weftMetricsPort = 15020;

export const protocols: readonly Protocol[] = ['http1', 'http2', 'grpc'];

export interface Rate {
  readonly point: string;
  /** Requests per second. */
  readonly perSecond: number;
}

export interface ClientPlan {
  /** How long each measurement takes. */
  readonly seconds: number;
  /** Address of the server's Service. */
  readonly service: string;
  /** Address of the server's pod. Its meter is read outside of the mesh. */
  readonly serverPod: string;
  /** Addresses at whose port 15020 Weft's agents and waypoints report their CPU time. */
  readonly proxies: readonly string[];
  /** The pods have an Envoy: its counters are read, and its processes count as the proxies. */
  readonly sidecar: boolean;
  /** The open loops of each protocol. */
  readonly rates: Partial<Readonly<Record<Protocol, readonly Rate[]>>>;
  /** `trial`: checks that all servers respond, and measures the maximum load. */
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
  /** Counters of both Envoys: `client <counter>`, which starts at zero in each Job, and `server <counter>`. */
  readonly counters: Readonly<Record<string, number>>;
  /** Versions of the programs in the image. Only in the trial. */
  readonly versions: Readonly<Record<string, string>>;
}

/** The names of bench/mesh/workloads.ts. */
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
/** Warm-up of an open loop, which does not count: connections, code and caches. */
export const warmSeconds = 0.3;
/** Shares of the maximum load of the slowest variant. */
const sharesPercent = [30, 70] as const;
/** Minimum rate, so that every connection has requests. */
const rateMin = requestConnections * 2;

/** The open loops of a placement: at the requested rate, otherwise at shares of the maximum of its slowest variant in the trials. Pure. */
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
