/** What the translation of a VirtualService's rules for one Service port knows and reports. Pure. */
import type { RouteBackend } from '../../../src/model/route.js';
import type { DestinationLookup } from './virtual-service-destinations.js';
import type { MatchReader } from './virtual-service-matches.js';
import type { SourceLookup } from './virtual-service-sources.js';

/** Where the rules are translated to. */
export interface RuleContext {
  /** Namespace of the VirtualService, whose short host names mean its Services. */
  readonly namespace: string;
  readonly port: number;
  /** The name of faults in logs and metrics. */
  readonly origin: string;
  readonly lookup: DestinationLookup & SourceLookup;
  readonly reader: MatchReader;
  /** Reports why a part of the object is closed. Reported more than once, as there are several ports. */
  readonly onProblem: (field: string, why: string) => void;
  /** The first problem of the rule that is being read. */
  problem?: string | undefined;
}

/** Requests to them get an error. */
export const closedBackends = (reason: string): RouteBackend[] => [
  { target: { kind: 'invalid', reason }, weight: 1, filters: [] },
];
