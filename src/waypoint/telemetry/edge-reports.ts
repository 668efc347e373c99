/** Adds up what the workers have observed, and reports it to the control plane. */
import { Counter, type Registry } from 'prom-client';
import { EdgeReportClient } from '../../discovery/edge-report-client.js';
import type { ControlPlane } from '../../discovery/unary-call.js';
import type { Edge } from '../../model/edge.js';
import type { WaypointLimit } from '../limits.js';
import { EdgeReporter, edgeReportMs } from '../../telemetry/edge-reporter.js';
import { EdgeTable } from '../../telemetry/edge-table.js';

export interface EdgeReports {
  readonly onEdges: (edges: readonly Edge[]) => void;
  /** Sends what is there, once more. */
  stop(): Promise<void>;
}

/** Starts to report. @param onProblem called if a report failed for another reason than the last one */
export function startEdgeReports(
  control: ControlPlane,
  registry: Registry,
  onLimit: (limit: WaypointLimit) => void,
  onProblem: (why: string) => void,
): EdgeReports {
  const lost = new Counter({
    name: 'weft_edge_reports_lost_total',
    help: 'Reports of edges that the control plane will never have: it was away for too long, or refused them',
    registers: [registry],
  });
  const table = new EdgeTable(() => onLimit('edges'));
  const client = new EdgeReportClient(control);
  const reporter = new EdgeReporter({
    take: () => table.take(Date.now()),
    send: (report) => client.send(report),
    onLost: (reports) => lost.inc(reports),
    onProblem,
  });
  const ticks = setInterval(() => void reporter.tick(), edgeReportMs);
  return {
    onEdges: (edges) => {
      for (const edge of edges) table.add(edge);
    },
    stop: async () => {
      clearInterval(ticks);
      await reporter.tick();
      client.close();
    },
  };
}
