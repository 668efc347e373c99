/** Tells the control plane what this node holds: weft.v1.NodeReports. */
import { NodeReport, NodeReportResponse } from './gen/weft.js';
import { unaryCall, type ControlPlane } from './unary-call.js';

const method = {
  path: '/weft.v1.NodeReports/Report',
  encode: (message: NodeReport) => NodeReport.encode(message).finish(),
  decode: (bytes: Uint8Array) => NodeReportResponse.decode(bytes),
};

/** Errors: of gRPC; a control plane that does not know reports answers UNIMPLEMENTED. */
export async function sendNodeReport(control: ControlPlane, report: NodeReport): Promise<void> {
  await unaryCall(control, method, report);
}
