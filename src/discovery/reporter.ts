/** Tells the control plane what this node holds: weft.v1.NodeReports. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { NodeReport, NodeReportAnswer } from './gen/weft.js';

const deadlineMsMax = 10_000;

/** Errors: of gRPC; a control plane that does not know reports answers UNIMPLEMENTED. */
export function sendReport(
  options: { target: string; rootPem: () => string; token: () => string },
  report: NodeReport,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // One connection each, as for certificates: reports are rare, and roots may have rotated.
    const client = new Client(options.target, credentials.createSsl(Buffer.from(options.rootPem())), {});
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${options.token()}`);
    client.makeUnaryRequest(
      '/weft.v1.NodeReports/Report',
      (message: NodeReport) => Buffer.from(NodeReport.encode(message).finish()),
      (bytes) => NodeReportAnswer.decode(bytes),
      report,
      metadata,
      { deadline: Date.now() + deadlineMsMax },
      (error) => {
        client.close();
        if (error) reject(error);
        else resolve();
      },
    );
  });
}
