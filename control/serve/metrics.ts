/** The control plane's metrics, for Prometheus. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

export interface ControlState {
  readonly nodes: () => number;
  readonly objects: () => number;
  readonly refused: () => number;
  /** Objects with unknown values of labels or annotations. */
  readonly settingProblems: () => number;
  readonly leading: () => boolean;
  /** Host names that are resolved by DNS. */
  readonly names: () => number;
  /** Edges in memory. */
  readonly edges: () => number;
  /** Changes of objects that are kept. */
  readonly changes: () => number;
  /** Open taps: of this replica's readers, and of those of others. */
  readonly taps: () => number;
  /** Objects that wait for a later turn to be recompiled. */
  readonly waiting: () => number;
  /** Key sets of token issuers that are fetched; those of these without keys. */
  readonly keySets: () => number;
  readonly keySetsMissing: () => number;
  /** Ports that are closed because their tokens have too many issuers. */
  readonly crowdedPorts: () => number;
}

export class ControlMetrics {
  readonly registry = new Registry();
  readonly pushed = new Counter({
    name: 'weft_control_resources_changed_total',
    help: 'Resources that were updated or removed',
    registers: [this.registry],
  });
  readonly certificates = new Counter({
    name: 'weft_control_certificates_total',
    help: 'Certificate requests, by result',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly callsRefused = new Counter({
    name: 'weft_control_calls_refused_total',
    help: 'Calls refused before they were read, by reason',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });
  readonly nameQueries = new Counter({
    name: 'weft_control_name_queries_total',
    help: 'DNS queries for host names of ServiceEntries, by result',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly metricsApiResponses = new Counter({
    name: 'weft_control_metrics_api_responses_total',
    help: "Responses of SMI's TrafficMetrics, by HTTP status",
    labelNames: ['code'] as const,
    registers: [this.registry],
  });
  readonly keyFetches = new Counter({
    name: 'weft_control_jwks_fetches_total',
    help: 'Requests for key sets of token issuers, by result',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly keyRefetches = new Counter({
    name: 'weft_control_jwks_refetch_requests_total',
    help: 'Key sets that waypoints asked to be fetched again, by result',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'Times that a limit of the control plane was reached, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
    registers: [this.registry],
  });

  readonly edgesRefused = new Counter({
    name: 'weft_control_edges_refused_total',
    help: 'Reported edges that were left out: not decodable, or not of the program that reported them',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });

  readonly tapEventsRefused = new Counter({
    name: 'weft_control_tap_events_refused_total',
    help: 'Events of taps that were left out: not decodable, not of the program that reported them, or not asked for',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });
  readonly tapEventsLost = new Counter({
    name: 'weft_control_tap_events_lost_total',
    help: 'Events that programs could not send to taps, because there were more than may wait',
    registers: [this.registry],
  });

  constructor(state: ControlState) {
    collectDefaultMetrics({ register: this.registry });
    const gauge = (name: string, help: string, read: () => number): void =>
      void new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          this.set(read());
        },
      });
    gauge('weft_control_nodes', 'Nodes with a discovery stream', state.nodes);
    gauge('weft_control_objects', 'Objects in the registry', state.objects);
    gauge('weft_control_objects_refused', 'Objects whose current version is not in force', state.refused);
    gauge(
      'weft_control_setting_problems',
      'Namespaces and pods with unknown values of labels or annotations',
      state.settingProblems,
    );
    gauge('weft_control_names', 'Host names of ServiceEntries that are resolved by DNS', state.names);
    gauge('weft_control_edges', 'Edges of the last 15 minutes that this replica keeps', state.edges);
    gauge('weft_control_changes', 'Last changes of objects that this replica keeps', state.changes);
    gauge('weft_control_taps', 'Open taps, also those of readers of other replicas', state.taps);
    gauge(
      'weft_control_objects_waiting',
      'Objects that wait to be recompiled because something that they refer to has changed',
      state.waiting,
    );
    gauge('weft_control_jwks', 'Key sets of token issuers that are fetched', state.keySets);
    gauge(
      'weft_control_jwks_missing',
      'Key sets of token issuers that have never been fetched with success',
      state.keySetsMissing,
    );
    gauge(
      'weft_control_jwt_ports_closed',
      'Ports of Services that are closed because their tokens have too many issuers',
      state.crowdedPorts,
    );
    gauge('weft_control_leading', '1 if this replica is the leader', () => (state.leading() ? 1 : 0));
  }
}
