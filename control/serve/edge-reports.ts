/** The service weft.v1.EdgeReports: programs report edges, other replicas of the control plane read them. */
import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import { edgeLimits, encodeEdge } from '../../src/discovery/codec/edge.js';
import type {
  EdgeQuery,
  EdgeReport,
  EdgeReportResponse,
  EdgeResponse,
  EdgeReportsServer,
} from '../../src/discovery/gen/weft.js';
import type { Caller } from '../authentication/authenticator.js';
import { controlCaller, isService } from '../authentication/service-callers.js';
import type { EdgeCollector } from '../edges/edge-collector.js';
import type { EdgeStore } from '../edges/edge-store.js';
import type { ControlLog } from '../log.js';

const programCharsMax = 64;

export interface EdgeReportsOptions {
  /** Absent: reports are refused as by a version without them. */
  readonly edges?: {
    readonly collector: Pick<EdgeCollector, 'report'>;
    readonly store: Pick<EdgeStore, 'query'>;
  };
  /** The authenticated caller. Error: WEFT_INTERNAL, if the call was not authenticated. */
  readonly callerOf: (call: ServerUnaryCall<unknown, unknown>) => Caller;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit?: ((limit: string) => void) | undefined;
  readonly log: ControlLog;
}

const unimplemented = { code: status.UNIMPLEMENTED, details: 'this control plane keeps no edges' } as const;

/** Why a report is refused; undefined where it is accepted. Pure. */
function reportErrorOf({ program, number, edges }: EdgeReport): string | undefined {
  if (program === '' || program.length > programCharsMax)
    return `the program's name is not 1 to ${programCharsMax} characters long`;
  if (number < 1) return 'the report has no number';
  return edges.length > edgeLimits.edgesPerReport
    ? `the report has more than ${edgeLimits.edgesPerReport} edges`
    : undefined;
}

/** The methods of the service. Callers are authenticated, and each edge is checked against its caller. */
export function edgeReports({ edges, callerOf, onLimit, log }: EdgeReportsOptions): EdgeReportsServer {
  const failed = (call: ServerUnaryCall<unknown, unknown>, error: unknown) => {
    log.warn({ peer: call.getPeer(), error: errorText(error) }, 'processing a call about edges failed');
    return { code: status.UNAVAILABLE, details: 'the call could not be processed: try again' };
  };
  return {
    report: (
      call: ServerUnaryCall<EdgeReport, EdgeReportResponse>,
      respond: sendUnaryData<EdgeReportResponse>,
    ) => {
      try {
        if (!edges) return respond(unimplemented);
        const caller = callerOf(call);
        if (isService(caller.name))
          return respond({
            code: status.PERMISSION_DENIED,
            details: 'only node agents and waypoints may report edges',
          });
        const error = reportErrorOf(call.request);
        if (error !== undefined) {
          onLimit?.('control-edge-report');
          return respond({ code: status.INVALID_ARGUMENT, details: error });
        }
        edges.collector.report(caller, call.request);
        respond(null, {});
      } catch (error) {
        respond(failed(call, error));
      }
    },
    query: (call: ServerUnaryCall<EdgeQuery, EdgeResponse>, respond: sendUnaryData<EdgeResponse>) => {
      try {
        if (!edges) return respond(unimplemented);
        // Edges name workloads of all namespaces: no node and no waypoint may read them.
        if (callerOf(call).name !== controlCaller)
          return respond({
            code: status.PERMISSION_DENIED,
            details: 'only the control plane may read edges here',
          });
        const { namespace, sinceMs, bySlot } = call.request;
        const answer = edges.store.query({
          sinceMs,
          isBySlot: bySlot,
          ...(namespace === '' ? {} : { namespace }),
        });
        respond(null, { ...answer, edges: answer.edges.map(encodeEdge), bySlot });
      } catch (error) {
        respond(failed(call, error));
      }
    },
  };
}
