/**
 * A single request to the control plane over its own connection. Such requests are rare, and the roots that verify the server may have
 * rotated since the last one.
 */
import { connect, type Connectable } from './connect.js';

const deadlineMsMax = 10_000;

export interface ControlPlane extends Connectable {
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
    const { deadlineMs = deadlineMsMax, responseBytesMax = 4 << 20 } = control;
    const { client, metadata } = connect(control, { 'grpc.max_receive_message_length': responseBytesMax });
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
