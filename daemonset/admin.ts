/**
 * The agent's HTTP ports: metrics (15020), readiness (15021), and, only on the node itself, its whole state (15000). The responses are
 * assembled here from the parts that own the data.
 */
import { version } from '../src/base/version.js';
import type { MeshState } from '../src/state/store.js';
import type { MeshMetrics } from '../src/telemetry/metrics.js';
import { serveRoutes, tokenIn, type HttpServer } from '../src/telemetry/servers.js';
import type { Certificates } from '../src/tls/certificate-manager.js';
import type { NodeRelay } from './node-relay.js';
import type { Subscriptions } from './discovery/subscriptions.js';
import type { Enroller } from './enroll/enroller.js';
import type { Preexisting } from './enroll/preexisting.js';
import type { KernelFlows } from './kernel/flows.js';
import type { AgentOptions } from './options.js';
import type { ReadyFile } from './readiness.js';

/** Served only on the node itself (127.0.0.1). */
export const adminPort = 15000;
const metricsPort = 15020;
const readyPort = 15021;

export interface AdminSources {
  readonly options: AgentOptions;
  readonly state: MeshState;
  readonly metrics: MeshMetrics;
  readonly certificates: Certificates;
  readonly relay: NodeRelay;
  readonly subscriptions: Subscriptions;
  readonly enroller: Enroller;
  readonly preexisting: Preexisting;
  readonly kernelFlows: KernelFlows;
  readonly readiness: ReadyFile;
  /** Features that this kernel lacks, and why. */
  readonly missing: ReadonlyMap<string, string>;
  readonly cniStatus: () => string;
  /** The kernel's counters by name. */
  readonly counters: () => Record<string, number>;
  readonly control: () => { readonly state: string; readonly why: string };
  readonly undecodable: () => readonly object[];
  readonly isReady: () => boolean;
  readonly isEmpty: () => boolean;
}

const json = (value: unknown): string =>
  JSON.stringify(value, (_k, v: unknown) => (typeof v === 'bigint' ? String(v) : v), 2);
const contentType = 'application/json';

/** Serves the three ports. Error: WEFT_LISTEN. */
export async function serveAdmin(sources: AdminSources): Promise<HttpServer[]> {
  const { metrics, options, isReady, isEmpty } = sources;
  metrics.beforeRead = (names) => updateGauges(sources, names);
  return [
    await serveRoutes(
      '::',
      metricsPort,
      {
        '/metrics': {
          contentType: metrics.registry.contentType,
          read: ({ trusted }) => metrics.text(trusted),
        },
      },
      { token: tokenIn(options.metricsToken) },
    ),
    await serveRoutes('::', readyPort, {
      // Open to everyone who can reach the node: the response names no pod.
      '/healthz/ready': {
        contentType,
        read: () => JSON.stringify({ ready: isReady(), ...countsOf(sources) }),
        status: () => (isReady() ? 200 : 503),
      },
      // Queried before an uninstall: an agent without enrolled pods leaves nothing behind when it ends.
      '/healthz/empty': {
        contentType,
        read: () => JSON.stringify({ empty: isEmpty() }),
        status: () => (isEmpty() ? 200 : 503),
      },
    }),
    await serveRoutes('127.0.0.1', adminPort, {
      '/status': { contentType, read: () => json(statusOf(sources)) },
      '/dump': { contentType, read: async () => json(await dumpOf(sources)) },
      '/connections': { contentType, read: async () => json(await connectionsOf(sources)) },
      '/certificates': { contentType, read: () => json(sources.certificates.state()) },
    }),
  ];
}

function updateGauges({ metrics, kernelFlows, preexisting, enroller }: AdminSources, names: boolean): void {
  if (names) kernelFlows.countOpen();
  preexisting.refresh();
  metrics.preexisting.set(preexisting.size);
  metrics.pods.set({ state: 'held' }, enroller.enrolled.size);
  metrics.pods.set({ state: 'waiting' }, enroller.waiting.size);
  metrics.pods.set({ state: 'unknown' }, enroller.unknown);
}

const countsOf = ({ enroller, control }: AdminSources): object => ({
  held: enroller.enrolled.size,
  waiting: enroller.waiting.size,
  control: control().state,
});

function statusOf(sources: AdminSources): object {
  return {
    ...sources.readiness.last,
    version,
    uncaptured: [...sources.subscriptions.uncaptured.values()].map(({ uid, reason }) => ({ uid, reason })),
    missing: Object.fromEntries(sources.missing),
    undecodable: sources.undecodable(),
    relay: sources.relay.status(),
    cni: sources.cniStatus(),
    certificates: sources.certificates.state(),
    timeMs: Date.now(),
  };
}

async function dumpOf(sources: AdminSources): Promise<object> {
  const { options, enroller, subscriptions, preexisting, state } = sources;
  return {
    node: options.node,
    instance: options.instance,
    control: sources.control(),
    relay: sources.relay.status(),
    pods: [...enroller.enrolled.values()].map(({ pod, netns }) => ({
      pod,
      place: { cookie: netns.cookie, netns: netns.path },
    })),
    waiting: Object.fromEntries(enroller.waiting),
    uncaptured: Object.fromEntries(subscriptions.uncaptured),
    certificates: sources.certificates.state(),
    kernel: sources.counters(),
    preexisting: preexisting.describe(),
    ...state.dump(),
    connections: await connectionsOf(sources),
  };
}

const connectionsOf = async ({ kernelFlows, relay }: AdminSources): Promise<object[]> => [
  ...kernelFlows.describe(),
  ...(await relay.connections()),
];
