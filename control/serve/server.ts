/** One port: delta ADS and certificates, both for nodes that show their token. */
import {
  Server,
  ServerCredentials,
  status,
  type Metadata,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { errorText, WeftError } from '../../src/base/errors.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../../src/discovery/gen/discovery.js';
import {
  IstioCertificateServiceService,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
} from '../../src/discovery/gen/ca.js';
import { grpcLimits } from '../../src/discovery/types.js';
import { parseCsr, type KeyAndCertificate } from '../../src/tls/issue.js';
import type { CertificateAuthority } from './ca.js';
import type { Snapshot } from './resources.js';

const ttlSMax = 7 * 86_400;

export interface ServeLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}

export interface ControlServerOptions {
  readonly listen: string;
  readonly certificate: KeyAndCertificate;
  readonly ca: CertificateAuthority;
  readonly nodeOfToken: (token: string) => Promise<string | undefined>;
  /** True where some pod with this identity runs on the node. */
  readonly mayAsk: (node: string, identity: string) => boolean;
  readonly certTtlS: number | undefined;
  readonly log: ServeLog;
}

interface Subscription {
  /** What the node has, as far as we know. */
  readonly known: Map<string, string>;
  nonce: string;
}

interface NodeStream {
  readonly node: string;
  readonly call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly types: Map<string, Subscription>;
  /** The node reads slower than we tell: what changed meanwhile is sent in one piece at 'drain'. */
  blocked: boolean;
  nonces: number;
}

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #server: Server;
  readonly #streams = new Set<NodeStream>();
  #snapshot: Snapshot;

  constructor(options: ControlServerOptions, snapshot: Snapshot) {
    this.#options = options;
    this.#snapshot = snapshot;
    this.#server = new Server({
      'grpc.max_receive_message_length': grpcLimits.messageBytesMax,
      'grpc.max_send_message_length': grpcLimits.messageBytesMax,
      'grpc.keepalive_time_ms': grpcLimits.pingIntervalMs,
      'grpc.keepalive_timeout_ms': grpcLimits.pingTimeoutMs,
    });
    this.#server.addService(AggregatedDiscoveryServiceService, {
      deltaAggregatedResources: (call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>) =>
        void this.#onStream(call),
    });
    this.#server.addService(IstioCertificateServiceService, {
      createCertificate: (
        call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
        answer: sendUnaryData<IstioCertificateResponse>,
      ) => void this.#onCertificate(call, answer),
    });
  }

  /** Resolves with the port. Error: WEFT_LISTEN. */
  start(): Promise<number> {
    const { certificate, listen } = this.#options;
    const credentials = ServerCredentials.createSsl(null, [
      { private_key: Buffer.from(certificate.keyPem), cert_chain: Buffer.from(certificate.certPem) },
    ]);
    return new Promise((resolve, reject) => {
      this.#server.bindAsync(listen, credentials, (error, port) => {
        if (error)
          reject(
            new WeftError('WEFT_LISTEN', `cannot listen on ${listen}: ${errorText(error)}`, { cause: error }),
          );
        else resolve(port);
      });
    });
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  /** Tells every node what differs for it. */
  update(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const stream of this.#streams)
      for (const typeUrl of stream.types.keys()) this.#tell(stream, typeUrl, false);
  }

  async #node(metadata: Metadata): Promise<string | undefined> {
    const [header] = metadata.get('authorization');
    const token = typeof header === 'string' ? /^Bearer (\S+)$/.exec(header.trim())?.[1] : undefined;
    return token === undefined ? undefined : this.#options.nodeOfToken(token);
  }

  async #onStream(call: ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>): Promise<void> {
    // Requests wait until the token is checked; a client that floods meanwhile loses the rest with its stream.
    const early: DeltaDiscoveryRequest[] = [];
    let take = (request: DeltaDiscoveryRequest): void => void (early.length < 64 && early.push(request));
    let close = (): void => undefined;
    call.on('data', (request: DeltaDiscoveryRequest) => take(request));
    call.on('error', () => undefined);
    call.on('cancelled', () => close());
    call.on('end', () => {
      close();
      call.end();
    });
    const node = await this.#node(call.metadata);
    if (node === undefined) {
      this.#options.log.warn({ peer: call.getPeer() }, 'discovery refused: no valid token');
      call.emit('error', {
        code: status.UNAUTHENTICATED,
        details: 'no valid node token: make one by weft token',
      });
      return;
    }
    const stream: NodeStream = { node, call, types: new Map(), blocked: false, nonces: 0 };
    this.#streams.add(stream);
    close = () => void this.#streams.delete(stream);
    take = (request) => this.#onRequest(stream, request);
    call.on('drain', () => {
      stream.blocked = false;
      for (const typeUrl of stream.types.keys()) this.#tell(stream, typeUrl, false);
    });
    this.#options.log.info({ node }, 'node connected');
    for (const request of early) take(request);
  }

  #onRequest(stream: NodeStream, request: DeltaDiscoveryRequest): void {
    const { typeUrl } = request;
    const existing = stream.types.get(typeUrl);
    if (!existing) {
      if (!this.#snapshot.of(typeUrl, stream.node)) {
        // A type that is not served is answered with nothing: a client waits for its first answer.
        stream.call.write({
          systemVersionInfo: '',
          resources: [],
          typeUrl,
          nonce: 'none',
          removedResources: [],
        });
        return;
      }
      stream.types.set(typeUrl, {
        known: new Map(Object.entries(request.initialResourceVersions)),
        nonce: '',
      });
      this.#tell(stream, typeUrl, true);
      return;
    }
    if (request.errorDetail && request.responseNonce === existing.nonce) {
      // Sent again unchanged it would be refused again; it goes out anew when it changes.
      this.#options.log.warn(
        { node: stream.node, typeUrl, error: request.errorDetail.message },
        'node refused a resource',
      );
    }
  }

  #tell(stream: NodeStream, typeUrl: string, always: boolean): void {
    const subscription = stream.types.get(typeUrl);
    const now = this.#snapshot.of(typeUrl, stream.node);
    if (!subscription || !now || stream.blocked) return;
    const resources: DeltaDiscoveryResponse['resources'] = [];
    for (const [name, { version, bytes }] of now) {
      if (subscription.known.get(name) === version) continue;
      subscription.known.set(name, version);
      resources.push({ name, version, aliases: [], resource: { typeUrl, value: Buffer.from(bytes) } });
    }
    const removed = [...subscription.known.keys()].filter((name) => !now.has(name));
    for (const name of removed) subscription.known.delete(name);
    if (resources.length === 0 && removed.length === 0 && !always) return;
    subscription.nonce = String(++stream.nonces);
    const more = stream.call.write({
      systemVersionInfo: '',
      resources,
      typeUrl,
      nonce: subscription.nonce,
      removedResources: removed,
    });
    stream.blocked = !more;
  }

  async #onCertificate(
    call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
    answer: sendUnaryData<IstioCertificateResponse>,
  ): Promise<void> {
    const { ca, log, mayAsk, certTtlS } = this.#options;
    const refuse = (code: status, details: string, fields: object): void => {
      log.warn({ peer: call.getPeer(), ...fields }, `certificate refused: ${details}`);
      answer({ code, details });
    };
    try {
      const node = await this.#node(call.metadata);
      if (node === undefined) return refuse(status.UNAUTHENTICATED, 'no valid node token', {});
      const csr = parseCsr(call.request.csr);
      if (!csr.ok) return refuse(status.INVALID_ARGUMENT, `bad request: ${csr.errors.join('; ')}`, { node });
      // A proxy that serves one workload alone impersonates nobody; the name in its request stands for it, under the same check.
      const asked =
        (call.request.metadata as { ImpersonatedIdentity?: unknown } | undefined)?.ImpersonatedIdentity ??
        csr.value.uri;
      if (typeof asked !== 'string') {
        return refuse(
          status.INVALID_ARGUMENT,
          'no identity is asked for: neither metadata ImpersonatedIdentity nor one URI in the request',
          { node },
        );
      }
      if (!mayAsk(node, asked)) {
        return refuse(
          status.UNAUTHENTICATED,
          `no pod with identity ${asked.slice(0, 256)} runs on node ${node}`,
          { node },
        );
      }
      const ttlS = certTtlS ?? Math.min(Math.max(call.request.validityDuration || 86_400, 60), ttlSMax);
      answer(null, { certChain: ca.issue(csr.value.publicKeyPem, parseSpiffeId(asked), ttlS) });
      log.info({ node, identity: asked }, 'certificate issued');
    } catch (error) {
      refuse(status.INTERNAL, errorText(error), {});
    }
  }
}
