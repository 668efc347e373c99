/** The steps of the demo, in order. Each step measures its claim in this run, and returns the measurements as evidence. */
import type { Step } from './stage.js';
import { auditThenEnforceStep } from './steps/audit-then-enforce.js';
import { enrollmentSteps, ipv6Step, unenrollStep } from './steps/enrollment.js';
import { explainSteps } from './steps/explain.js';
import { istioSteps } from './steps/istio.js';
import { operationSteps } from './steps/operations.js';
import { outliveAgentSteps } from './steps/outlive-agent.js';
import { policySteps } from './steps/policy.js';
import { sameNodeSteps } from './steps/same-node.js';
import { tapStep } from './steps/tap.js';
import { waypointAuthorizationSteps } from './steps/waypoint-authorization.js';
import { waypointGuardSteps, waypointUpdateStep } from './steps/waypoint-guard.js';
import { waypointLimitSteps } from './steps/waypoint-limits.js';
import { waypointResilienceSteps } from './steps/waypoint-resilience.js';
import { waypointUserSteps } from './steps/waypoint-users.js';
import { waypointRouteSteps } from './steps/waypoint-routes.js';

export const steps: readonly Step[] = [
  ...enrollmentSteps,
  ...sameNodeSteps,
  ...policySteps,
  ...explainSteps,
  auditThenEnforceStep,
  ...operationSteps,
  ...outliveAgentSteps,
  ipv6Step,
  ...waypointRouteSteps,
  tapStep,
  ...waypointGuardSteps,
  ...waypointResilienceSteps,
  ...waypointAuthorizationSteps,
  ...waypointLimitSteps,
  ...waypointUserSteps,
  ...istioSteps,
  waypointUpdateStep,
  unenrollStep,
];
