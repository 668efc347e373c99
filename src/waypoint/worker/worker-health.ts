/** What a worker does about events of outlier detection and health checks: metrics, log lines, and messages to the other workers. */
import type { Registry } from 'prom-client';
import { RateLimiter } from '../../base/rate-limiter.js';
import { formatSocketAddress } from '../../model/address.js';
import type { ClusterHealth, HealthContext } from '../cluster/cluster-health.js';
import type { HealthEvents, HealthSubject } from '../cluster/health-events.js';
import type { ClusterManager } from '../cluster/cluster-manager.js';
import type { Dial } from '../cluster/connection-pool.js';
import type { Endpoint } from '../cluster/endpoint.js';
import { HealthChecker, type CheckEvents } from '../cluster/health-check/health-checker.js';
import { IntervalTimer } from '../cluster/interval-timer.js';
import { SharedHealth, type HealthChange } from '../cluster/shared-health.js';
import type { WaypointLimit, WaypointLimits } from '../limits.js';
import { HealthMetrics, type ClusterHealthFigures } from '../telemetry/health-metrics.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import type { FromWorker } from './worker-ipc.js';

type Line = Omit<Extract<FromWorker, { type: 'log' }>, 'type'>;

export interface WorkerHealthOptions {
  readonly metrics: Registry;
  clusters(): Iterable<ClusterHealth>;
  /** One worker of a waypoint makes the health checks. */
  readonly makesChecks: boolean;
  readonly dial: Dial;
  readonly limits: WaypointLimits;
  log(line: Line): void;
  onAction(action: TrafficAction, namespace: string): void;
  onLimitReached(limit: WaypointLimit): void;
  /** Sends changes to the other workers. */
  send(changes: readonly HealthChange[]): void;
}

const fieldsOf = ({ cluster, policy }: HealthSubject, { target, workload }: Endpoint): object => ({
  cluster,
  endpoint: formatSocketAddress(target),
  pod: workload.name,
  namespace: workload.namespace,
  policy,
});

export class WorkerHealth implements HealthEvents, CheckEvents {
  readonly context: HealthContext;
  readonly #checker: HealthChecker | undefined;
  readonly #metrics: HealthMetrics;
  /** Rate limits of log lines, by the Service's namespace. */
  readonly #lines = new RateLimiter({ burst: 500, perSecond: 20 });
  #changes: HealthChange[] = [];

  constructor(private readonly options: WorkerHealthOptions) {
    const { metrics, clusters, makesChecks, dial, limits } = options;
    const checker = makesChecks ? new HealthChecker({ dial, limits, events: this }) : undefined;
    this.#checker = checker;
    this.#metrics = new HealthMetrics(
      metrics,
      () => options.onLimitReached('metric-series'),
      () => figuresOf(clusters(), checker),
    );
    this.context = {
      timer: new IntervalTimer(),
      shared: new SharedHealth(),
      events: this,
      ...(checker ? { checker } : {}),
    };
  }

  /** The waypoint has a certificate, so that checks are possible. */
  start(manager: ClusterManager): void {
    if (!this.#checker) return;
    manager.watchAll();
    this.#checker.start(manager.health());
  }

  stop(): void {
    this.#checker?.stop();
  }

  onDetected(...[at, _endpoint, kind, result]: Parameters<HealthEvents['onDetected']>): void {
    this.#metrics.onDetected(at, kind, result);
  }

  onEjected(...[at, endpoint, kind, forMs, dryRun]: Parameters<HealthEvents['onEjected']>): void {
    this.#log(at.namespace, {
      level: 'warn',
      fields: { ...fieldsOf(at, endpoint), detector: kind, forMs: Math.round(forMs), dryRun },
      text: 'endpoint ejected',
    });
  }

  onReturned(...[at, endpoint, kind, dryRun]: Parameters<HealthEvents['onReturned']>): void {
    this.#log(at.namespace, {
      level: 'info',
      fields: { ...fieldsOf(at, endpoint), detector: kind, dryRun },
      text: 'ejected endpoint returned',
    });
  }

  onChecked(...[at, result]: Parameters<CheckEvents['onChecked']>): void {
    this.#metrics.onChecked(at, result);
  }

  onHealthChanged(...[at, endpoint, failure, dryRun]: Parameters<CheckEvents['onHealthChanged']>): void {
    this.#log(at.namespace, {
      level: failure === undefined ? 'info' : 'warn',
      fields: { ...fieldsOf(at, endpoint), ...(failure === undefined ? {} : { failure }), dryRun },
      text: failure === undefined ? 'endpoint passes its health check' : 'endpoint fails its health check',
    });
  }

  onImpossible(...[at, endpoint, why]: Parameters<CheckEvents['onImpossible']>): void {
    this.#log(at.namespace, {
      level: 'warn',
      fields: { ...fieldsOf(at, endpoint), why },
      text: 'health check not possible: the endpoint keeps its state',
    });
  }

  onAction(action: TrafficAction, namespace: string): void {
    this.options.onAction(action, namespace);
  }

  onLimitReached(limit: 'health-checks'): void {
    this.options.onLimitReached(limit);
  }

  #log(namespace: string, line: Line): void {
    if (this.#lines.take(namespace)) this.options.log(line);
    else this.options.onLimitReached('log-lines');
  }

  /** Changes of one turn of the event loop go into one message. */
  share(change: HealthChange): void {
    this.#changes.push(change);
    if (this.#changes.length > 1) return;
    setImmediate(() => {
      const changes = this.#changes;
      this.#changes = [];
      this.options.send(changes);
    });
  }
}

/** @param checker of the worker that makes the checks */
function* figuresOf(
  clusters: Iterable<ClusterHealth>,
  checker: HealthChecker | undefined,
): Iterable<ClusterHealthFigures> {
  for (const cluster of clusters) {
    if (!cluster.isWatched) continue;
    yield {
      name: cluster.name,
      ejected: cluster.settings?.outlierDetection ? cluster.ejectedHere : undefined,
      passing: checker?.healthyOf(cluster),
    };
  }
}
