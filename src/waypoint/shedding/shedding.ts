/**
 * What load shedding remembers in one worker: the concurrency limits of Service ports, the load of the process, and counts. It outlives
 * changes of the configuration.
 */
import type { AdaptiveConcurrency } from '../../discovery/gen/weft.js';
import type { ServiceKey } from '../../model/workload.js';
import type { ServicePort } from '../authorization/reachable.js';
import { GradientController, type ControllerState } from './gradient-controller.js';
import { ProcessLoad } from './process-load.js';

export type SheddingReason = 'concurrency' | 'event-loop-delay' | 'memory';

/** Controllers without a request for this long are forgotten, if none of their requests is under way. */
const idleMsMax = 600_000;
const sweepMs = 60_000;

interface Entry {
  readonly controller: GradientController;
  usedMs: number;
}

export class Shedding {
  /** By Service, port, and the name of the policy: found without a key that is put together for each request. */
  readonly #services = new Map<ServiceKey, Map<number, Map<string, Entry>>>();
  readonly #refused = { concurrency: 0, 'event-loop-delay': 0, memory: 0 };
  #sweepAtMs = 0;

  constructor(readonly process: Pick<ProcessLoad, 'delayMs' | 'rssBytes'> = new ProcessLoad()) {}

  /** Requests refused, by reason. */
  get refused(): Readonly<Record<SheddingReason, number>> {
    return this.#refused;
  }

  count(reason: SheddingReason): void {
    this.#refused[reason]++;
  }

  /** The concurrency limit of a Service port, by one policy. */
  controller(
    { service, port }: ServicePort,
    name: string,
    config: AdaptiveConcurrency,
    nowMs: number,
  ): GradientController {
    if (nowMs >= this.#sweepAtMs) this.#sweep(nowMs);
    const known = this.#services.get(service)?.get(port)?.get(name);
    if (!known) return this.#add(service, port, name, config, nowMs);
    known.usedMs = nowMs;
    known.controller.configure(config);
    return known.controller;
  }

  /** The states of the controllers. Of a Service port whose policy was replaced, only the one in use: both have the same labels in metrics. */
  *states(): Iterable<{
    readonly service: ServiceKey;
    readonly port: number;
    readonly state: ControllerState;
  }> {
    for (const [service, ports] of this.#services)
      for (const [port, names] of ports) {
        let last: Entry | undefined;
        for (const entry of names.values()) if (!last || entry.usedMs > last.usedMs) last = entry;
        if (last) yield { service, port, state: last.controller.state };
      }
  }

  #add(
    service: ServiceKey,
    port: number,
    name: string,
    config: AdaptiveConcurrency,
    nowMs: number,
  ): GradientController {
    let ports = this.#services.get(service);
    if (!ports) this.#services.set(service, (ports = new Map()));
    let names = ports.get(port);
    if (!names) ports.set(port, (names = new Map()));
    const controller = new GradientController(config, nowMs);
    names.set(name, { controller, usedMs: nowMs });
    return controller;
  }

  #sweep(nowMs: number): void {
    this.#sweepAtMs = nowMs + sweepMs;
    for (const [service, ports] of this.#services) {
      for (const [port, names] of ports) {
        for (const [name, { controller, usedMs }] of names)
          if (nowMs - usedMs > idleMsMax && controller.state.outstanding === 0) names.delete(name);
        if (names.size === 0) ports.delete(port);
      }
      if (ports.size === 0) this.#services.delete(service);
    }
  }
}
