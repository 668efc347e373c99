/** What the agent answers by HTTP: metrics, readiness, and to who is on the node its state. */
import type { MeshMetrics } from '../src/telemetry/metrics.js';
import { serveRoutes, type HttpServer } from '../src/telemetry/servers.js';

/** Answered on the node alone. */
export const adminPort = 15000;

export interface AdminSources {
  readonly metrics: MeshMetrics;
  /** Who shows it may read metrics with names from elsewhere; undefined: nobody has it. */
  readonly metricsToken: () => string | undefined;
  /** Brings gauges up to date, before they are read. */
  readonly measure: () => void;
  readonly ready: () => boolean;
  readonly counts: () => { readonly held: number; readonly waiting: number; readonly control: string };
  readonly empty: () => boolean;
  readonly status: () => object;
  readonly dump: () => Promise<object>;
  readonly connections: () => Promise<readonly object[]>;
  readonly certificates: () => readonly object[];
}

const json = (value: unknown): string =>
  JSON.stringify(value, (_k, v: unknown) => (typeof v === 'bigint' ? String(v) : v), 2);
const contentType = 'application/json';

export async function serveAdmin(agent: AdminSources): Promise<HttpServer[]> {
  return [
    await serveRoutes(
      '::',
      15020,
      {
        '/metrics': {
          contentType: agent.metrics.registry.contentType,
          read: ({ trusted }) => {
            agent.measure();
            return agent.metrics.text(trusted);
          },
        },
      },
      { token: agent.metricsToken },
    ),
    await serveRoutes('::', 15021, {
      // Whoever reaches the node may ask: it names nobody.
      '/healthz/ready': {
        contentType,
        read: () => JSON.stringify({ ready: agent.ready(), ...agent.counts() }),
        status: () => (agent.ready() ? 200 : 503),
      },
      // Asked before an uninstall: an agent that holds nobody leaves nothing behind when it ends.
      '/healthz/empty': {
        contentType,
        read: () => JSON.stringify({ empty: agent.empty() }),
        status: () => (agent.empty() ? 200 : 503),
      },
    }),
    await serveRoutes('127.0.0.1', adminPort, {
      '/status': { contentType, read: () => json(agent.status()) },
      '/dump': { contentType, read: async () => json(await agent.dump()) },
      '/connections': { contentType, read: async () => json(await agent.connections()) },
      '/certificates': { contentType, read: () => json(agent.certificates()) },
    }),
  ];
}
