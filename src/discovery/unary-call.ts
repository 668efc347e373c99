/** One request to the control plane over a connection of its own: they are rare, and the roots to check it by may have rotated since the last. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';

const deadlineMsMax = 10_000;

export interface ControlPlane {
  readonly target: string;
  readonly rootPem: () => string;
  readonly token: () => string;
}
interface Method<Request, Response> {
  readonly path: string;
  readonly encode: (request: Request) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => Response;
}

/** Errors: of gRPC. */
export function unaryCall<Request, Response>(
  control: ControlPlane,
  method: Method<Request, Response>,
  request: Request,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    const client = new Client(control.target, credentials.createSsl(Buffer.from(control.rootPem())), {});
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${control.token()}`);
    metadata.set('clusterid', 'Kubernetes');
    client.makeUnaryRequest(
      method.path,
      (message: Request) => Buffer.from(method.encode(message)),
      method.decode,
      request,
      metadata,
      { deadline: Date.now() + deadlineMsMax },
      (error, response) => {
        client.close();
        if (response !== undefined) resolve(response);
        else reject(error ?? new Error('no response'));
      },
    );
  });
}
