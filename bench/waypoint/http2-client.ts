/** Requests over HTTP/2 that prove what a proxy does, before it is measured. */
import { connect, type ClientHttp2Session } from 'node:http2';
import { WeftError } from '../../src/base/errors.js';
import { bodyBytes, proveShares } from './scene.js';

/** A response of h2server (bench/load/h2server.c). */
interface BackendResponse {
  readonly backend: string;
  /** The client's identity as the backend saw it, if the path begins with `/proof-`. */
  readonly client: string | undefined;
}

const stuckMs = 5_000;
const grpcPrefixBytes = 5;

/** One connection with prior knowledge. */
export class Http2Client {
  readonly #name: string;
  readonly #session: ClientHttp2Session;

  constructor(name: string, port: number) {
    this.#name = name;
    this.#session = connect(`http://127.0.0.1:${port}`);
    this.#session.on('error', () => undefined);
  }

  close(): void {
    this.#session.destroy();
  }

  /** A GET, or a unary gRPC call with an empty message. Rejects where the response is not h2server's. */
  ask(path: string, headers: Readonly<Record<string, string>>, isGrpc = false): Promise<BackendResponse> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ':path': path,
        ...headers,
        ...(isGrpc ? { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' } : {}),
      });
      let status: unknown;
      let found: BackendResponse = { backend: '', client: undefined };
      let grpcStatus: unknown;
      let bytes = 0;
      stream.setTimeout(stuckMs, () => stream.destroy(new Error('no response in time')));
      stream.on('response', (fields) => {
        status = fields[':status'];
        found = { backend: String(fields['x-backend']), client: fields['x-client'] as string | undefined };
      });
      stream.on('trailers', (fields) => (grpcStatus = fields['grpc-status']));
      stream.on('data', (chunk: Buffer) => (bytes += chunk.length));
      stream.on('error', reject);
      stream.on('close', () => {
        const isComplete = bytes === bodyBytes + (isGrpc ? grpcPrefixBytes : 0);
        if (status === 200 && isComplete && (!isGrpc || grpcStatus === '0')) resolve(found);
        else
          reject(
            new WeftError(
              'WEFT_BENCH_NOT_CARRIED',
              `${this.#name} answers ${String(status)} with ${bytes} bytes${isGrpc ? `, grpc-status ${String(grpcStatus)}` : ''}`,
            ),
          );
      });
      stream.end(isGrpc ? Buffer.alloc(grpcPrefixBytes) : undefined);
    });
  }
}

/** Requests and gRPC calls: {@link proveShares}. */
export async function proveHttp2Routed(name: string, port: number): Promise<void> {
  for (const isGrpc of [false, true]) {
    const client = new Http2Client(name, port);
    try {
      await proveShares(name, async (path, headers) => (await client.ask(path, headers, isGrpc)).backend, []);
    } finally {
      client.close();
    }
  }
}
