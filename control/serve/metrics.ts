/** The control plane's metrics, for Prometheus. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

export interface ControlState {
  readonly nodes: () => number;
  readonly objects: () => number;
  readonly refused: () => number;
  /** Objects with labels or annotations that nobody can read. */
  readonly settingProblems: () => number;
  readonly leading: () => boolean;
}

export class ControlMetrics {
  readonly registry = new Registry();
  readonly pushed = new Counter({
    name: 'weft_control_resources_changed_total',
    help: 'Resources that nodes were told anew',
    registers: [this.registry],
  });
  readonly certificates = new Counter({
    name: 'weft_control_certificates_total',
    help: 'Certificates asked for, by result',
    labelNames: ['result'] as const,
    registers: [this.registry],
  });
  readonly callsRefused = new Counter({
    name: 'weft_control_calls_refused_total',
    help: 'Calls turned away before they were read, by reason',
    labelNames: ['reason'] as const,
    registers: [this.registry],
  });
  readonly limitReached = new Counter({
    name: 'weft_limit_reached_total',
    help: 'What a limit of the control plane turned away, by limit (docs/limits.md)',
    labelNames: ['limit'] as const,
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
    gauge('weft_control_nodes', 'Nodes that follow', state.nodes);
    gauge('weft_control_objects', 'Objects that are kept', state.objects);
    gauge('weft_control_objects_refused', 'Objects that are not in force as they are written', state.refused);
    gauge(
      'weft_control_setting_problems',
      'Namespaces and pods with labels or annotations that cannot be read',
      state.settingProblems,
    );
    gauge('weft_control_leading', '1 where this replica writes', () => (state.leading() ? 1 : 0));
  }
}
