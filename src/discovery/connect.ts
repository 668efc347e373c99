/** A connection to the control plane, and what authenticates the calls over it. */
import { Client, credentials, Metadata, type ClientOptions } from '@grpc/grpc-js';
import { grpcLimits } from './types.js';

export interface Connectable {
  readonly target: string;
  readonly rootPem: () => string;
  readonly token: () => string;
  /** The name in the server's certificate, if it is not that of `target`. */
  readonly serverName?: string;
}

/** Throws if the roots or the token cannot be read. */
export function connect(
  { target, rootPem, token, serverName }: Connectable,
  options: ClientOptions,
): { readonly client: Client; readonly metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set('authorization', `Bearer ${token()}`);
  metadata.set('clusterid', 'Kubernetes');
  const client = new Client(target, credentials.createSsl(Buffer.from(rootPem())), {
    ...options,
    ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName }),
  });
  return { client, metadata };
}

/** Options of a connection that is kept for a stream: pings notice that the peer is gone. */
export const streamOptions = (messageBytesMax: number): ClientOptions => ({
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc.keepalive_time_ms': grpcLimits.pingIntervalMs,
  'grpc.keepalive_timeout_ms': grpcLimits.pingTimeoutMs,
});
