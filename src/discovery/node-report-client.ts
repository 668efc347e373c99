/** Client of weft.v1.NodeReports: reports the state of this node's pods to the control plane. */
import { NodeReport, NodeReportResponse } from './gen/weft.js';
import { unaryCall, type ControlPlane } from './unary-call.js';

const method = {
  path: '/weft.v1.NodeReports/Report',
  encode: (message: NodeReport) => NodeReport.encode(message).finish(),
  decode: (bytes: Uint8Array) => NodeReportResponse.decode(bytes),
};

/** Sends one report. Errors: those of gRPC; a control plane without this service responds UNIMPLEMENTED. */
export async function sendNodeReport(control: ControlPlane, report: NodeReport): Promise<void> {
  await unaryCall(control, method, report);
}
