/** Costs of a mesh besides single requests. */
import { callGraph } from './call-graph.js';
import type { Cost } from './cost.js';
import { enroll } from './enroll.js';
import { idleConnections } from './idle-connections.js';
import { memoryPerPod } from './memory-per-pod.js';
import { podStart } from './pod-start.js';
import { policies } from './policies.js';

export type { Cost, CostContext, CostResult } from './cost.js';

export const costs: readonly Cost[] = [callGraph, policies, idleConnections, memoryPerPod, podStart, enroll];
