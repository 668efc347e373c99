/**
 * Client of weft.v1.EdgeReports. A program reports every few seconds, so its connection is kept. The roots that verify the server may
 * rotate: then the next report takes another connection.
 */
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { EdgeReport, EdgeReportResponse } from './gen/weft.js';
import type { ControlPlane } from './unary-call.js';

const path = '/weft.v1.EdgeReports/Report';
const deadlineMsMax = 10_000;

const encode = (report: EdgeReport): Buffer => Buffer.from(EdgeReport.encode(report).finish());
const decode = (bytes: Uint8Array): EdgeReportResponse => EdgeReportResponse.decode(bytes);

export class EdgeReportClient {
  #client: Client | undefined;
  #rootPem = '';

  constructor(private readonly control: ControlPlane) {}

  /** Sends one report. Errors: those of gRPC; a control plane without this service responds UNIMPLEMENTED. */
  async send(report: EdgeReport): Promise<void> {
    const { target, rootPem, token } = this.control;
    const roots = rootPem();
    if (roots !== this.#rootPem) this.close();
    this.#rootPem = roots;
    const client = (this.#client ??= new Client(target, credentials.createSsl(Buffer.from(roots)), {}));
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token()}`);
    metadata.set('clusterid', 'Kubernetes');
    await new Promise<void>((resolve, reject) => {
      const options = { deadline: Date.now() + deadlineMsMax };
      client.makeUnaryRequest(path, encode, decode, report, metadata, options, (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }
}
