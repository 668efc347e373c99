/**
 * A single request to the control plane over its own connection. Such requests are rare, and the roots that verify the server may have
 * rotated since the last one.
 */
import { Client, credentials, Metadata } from '@grpc/grpc-js';

const deadlineMsMax = 10_000;

export interface ControlPlane {
  readonly target: string;
  readonly rootPem: () => string;
  readonly token: () => string;
  /** The name in the server's certificate, if it is not that of `target`. */
  readonly serverName?: string;
  /** Default 10 s. */
  readonly deadlineMs?: number;
  /** Default 4 MiB. */
  readonly responseBytesMax?: number;
}
interface Method<Request, Response> {
  readonly path: string;
  readonly encode: (request: Request) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Response;
}

/** Sends one unary request with a deadline. Errors: those of gRPC. */
export function unaryCall<Request, Response>(
  control: ControlPlane,
  method: Method<Request, Response>,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { serverName, deadlineMs = deadlineMsMax, responseBytesMax = 4 << 20 } = control;
    const client = new Client(control.target, credentials.createSsl(Buffer.from(control.rootPem())), {
      'grpc.max_receive_message_length': responseBytesMax,
      ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName }),
    });
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${control.token()}`);
    metadata.set('clusterid', 'Kubernetes');
    client.makeUnaryRequest(
      method.path,
      (message: Request) => Buffer.from(method.encode(message)),
      method.decode,
      request,
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, response) => {
        client.close();
        if (response !== undefined) resolve(response);
        else reject(error ?? new Error('no response'));
      },
    );
  });
}
