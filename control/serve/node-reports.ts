/** Reports of the agents about the pods of their node (weft.v1.NodeReports). */
import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import type { NodeReport, NodeReportResponse } from '../../src/discovery/gen/weft.js';
import type { Caller } from '../authentication/authenticator.js';
import { isService } from '../authentication/service-callers.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';

/** Entries of one report, and the length of each of its texts. */
const reportLimits = { pods: 4_096, missing: 64, textChars: 4_096 } as const;

export interface NodeReportsOptions {
  /** The authenticated caller. Error: WEFT_INTERNAL, if the call was not authenticated. */
  readonly callerOf: (call: ReportCall) => Caller;
  readonly onReport?: ((node: string, report: NodeReport) => void) | undefined;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit?: ((limit: string) => void) | undefined;
  readonly log: ControlLog;
}

type ReportCall = ServerUnaryCall<NodeReport, NodeReportResponse>;

/** The handler of `report`. */
export function nodeReports({ callerOf, onReport, onLimit, log }: NodeReportsOptions) {
  return (call: ReportCall, respond: sendUnaryData<NodeReportResponse>): void => {
    try {
      const { name: node } = callerOf(call);
      if (waypointOfCaller(node) || isService(node))
        return respond({ code: status.PERMISSION_DENIED, details: 'only node agents may send reports' });
      const error = reportErrorOf(call.request);
      if (error !== undefined) {
        onLimit?.('control-report');
        return respond({ code: status.INVALID_ARGUMENT, details: error });
      }
      onReport?.(node, call.request);
      respond(null, {});
    } catch (error) {
      log.warn({ peer: call.getPeer(), error: errorText(error) }, 'processing a node report failed');
      respond({ code: status.UNAVAILABLE, details: 'the report could not be processed: try again' });
    }
  };
}

/** Why a report is refused; undefined where it is accepted. Pure. */
function reportErrorOf({ pods, missing, cniProblem, version }: NodeReport): string | undefined {
  if (pods.length > reportLimits.pods) return `the report has more than ${reportLimits.pods} pods`;
  if (missing.length > reportLimits.missing)
    return `the report has more than ${reportLimits.missing} missing features`;
  const texts = [
    version,
    cniProblem,
    ...missing,
    ...pods.flatMap(({ uid, podUid, why }) => [uid, podUid, why]),
  ];
  return texts.some((text) => text.length > reportLimits.textChars)
    ? `the report has a text of more than ${reportLimits.textChars} characters`
    : undefined;
}
