/** One question to the control plane over a connection of its own: they are rare, and the roots to check it by may have rotated since the last. */
import { Client, credentials, Metadata } from '@grpc/grpc-js';

const deadlineMsMax = 10_000;

export interface ControlPlane {
  readonly target: string;
  readonly rootPem: () => string;
  readonly token: () => string;
}
interface Method<Q, A> {
  readonly path: string;
  readonly encode: (question: Q) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => A;
}

/** Errors: of gRPC. */
export function unaryCall<Q, A>(control: ControlPlane, method: Method<Q, A>, question: Q): Promise<A> {
  return new Promise((resolve, reject) => {
    const client = new Client(control.target, credentials.createSsl(Buffer.from(control.rootPem())), {});
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${control.token()}`);
    metadata.set('clusterid', 'Kubernetes');
    client.makeUnaryRequest(
      method.path,
      (message: Q) => Buffer.from(method.encode(message)),
      method.decode,
      question,
      metadata,
      { deadline: Date.now() + deadlineMsMax },
      (error, answer) => {
        client.close();
        if (answer !== undefined) resolve(answer);
        else reject(error ?? new Error('no answer'));
      },
    );
  });
}
