/** Makes the balancers of a cluster's levels, from the settings of its Service's port. */
import type { LoadBalancing } from '../../../discovery/gen/weft.js';
import type { Balancer, Observe } from './balancer.js';
import { LeastRequest } from './least-request.js';
import { Maglev } from './maglev.js';
import { PeakEwma } from './peak-ewma.js';
import { Random } from './random.js';
import { RingHash } from './ring-hash.js';
import { RoundRobin } from './round-robin.js';
import { Weights } from './weights.js';

export type BalancerKind = NonNullable<LoadBalancing['kind']>['$case'];

/** What a cluster needs of the balancers of its levels. */
export interface Balancers {
  readonly kind: BalancerKind;
  /** Equal for equal settings: the state of balancers is kept over other changes of the settings. */
  readonly key: string;
  /** Makes the balancer of one level. */
  make(): Balancer;
  /** Called with the outcome of each attempt; undefined for balancers that observe nothing. */
  readonly observe: Observe | undefined;
}

/** Envoy's defaults, where a message has no value. */
const choicesDefault = 2;
/** Attempts of one choice: a tenant's policy must not make each request of a worker expensive. */
const choicesMax = 16;
const ringSizeMin = 1024;
const ringSizeMax = 8_388_608;
const maglevSize = 65_537;
/** Linkerd's. */
const decayMs = 10_000;

const leastRequest: NonNullable<LoadBalancing['kind']> = { $case: 'leastRequest', value: { choices: 2 } };

export function balancersOf({ kind = leastRequest, slowStart }: Partial<LoadBalancing> = {}): Balancers {
  const config = slowStart && {
    windowMs: slowStart.windowMs,
    aggression: Math.max(1, slowStart.aggression) / 1000,
    minWeightPercent: Math.max(1, slowStart.minWeightPercent),
  };
  const weights = (): Weights => new Weights(config?.windowMs ? config : undefined);
  const key = JSON.stringify([kind, slowStart]);
  const of = (make: () => Balancer, observe?: Observe): Balancers => ({
    kind: kind.$case,
    key,
    make,
    observe,
  });
  switch (kind.$case) {
    case 'roundRobin':
      return of(() => new RoundRobin(weights()));
    case 'leastRequest': {
      const choices = Math.min(choicesMax, Math.max(1, kind.value.choices || choicesDefault));
      return of(() => new LeastRequest(choices, weights()));
    }
    case 'random':
      return of(() => new Random(weights()));
    case 'ringHash': {
      const { ringSizeMin: min, ringSizeMax: max } = kind.value;
      return of(() => new RingHash(min || ringSizeMin, max || ringSizeMax));
    }
    case 'maglev':
      return of(() => new Maglev(kind.value.tableSize || maglevSize));
    case 'peakEwma': {
      const ewma = (): PeakEwma => new PeakEwma(kind.value.decayMs || decayMs, weights());
      const observer = ewma();
      return of(ewma, (...attempt) => observer.observe(...attempt));
    }
  }
}
