/** One port: delta ADS and certificates, both for nodes and waypoints that show their token. */
import {
  Server,
  ServerCredentials,
  status,
  Metadata,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { errorText, WeftError } from '../../src/base/errors.js';
import { parseSpiffeId } from '../../src/model/identity.js';
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
} from '../../src/discovery/gen/discovery.js';
import {
  IstioCertificateServiceService,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
} from '../../src/discovery/gen/ca.js';
import { NodeReportsService, type NodeReport, type NodeReportAnswer } from '../../src/discovery/gen/weft.js';
import { grpcLimits } from '../../src/discovery/types.js';
import { parseCsr, type KeyAndCertificate } from '../../src/tls/issue.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import type { CertificateAuthority } from './ca.js';
import { responseOf, type ChangedNames, type Resources } from './resources.js';

const ttlSMax = 7 * 86_400;
const typesMax = 64;

export interface ServeLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}

export interface ControlServerOptions {
  readonly listen: string;
  readonly certificate: KeyAndCertificate;
  readonly ca: CertificateAuthority;
  /** The name of a node, or `waypoint:<namespace>/<name>`; below it is a node where nothing else is said. */
  readonly callerOfToken: (token: string) => Promise<string | undefined>;
  /** True where some pod with this identity runs on the node; where the waypoint is it. */
  readonly mayAsk: (caller: string, identity: string) => boolean;
  readonly certTtlS: number | undefined;
  readonly onCertificate?: (issued: boolean) => void;
  /** What a node's agent says it holds. */
  readonly onReport?: (node: string, report: NodeReport) => void;
  readonly log: ServeLog;
}

interface NodeStream {
  readonly node: string;
  readonly call: ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;
  /** By type that the node follows: names that changed while it was still reading what was sent before. */
  readonly types: Map<string, { dirty: Set<string>; nonce: string }>;
  /** Types that it asked for and has no answer of yet, with what it has. */
  readonly asked: Map<string, Readonly<Record<string, string>>>;
  /** One message at a time is on its way: a node that reads slowly holds up nobody, and is told the latest only. */
  sending: boolean;
  nonces: number;
}

/** Whole answers on their way at once: what nodes that all come back cost in memory. */
const wholeAnswersMax = 8;
/** A node that takes longer to read its own lets others begin. */
const wholeAnswerMsMax = 5_000;

/** Messages go out as they were encoded, once for all nodes. */
const discoveryService = {
  deltaAggregatedResources: {
    ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
    responseSerialize: (message: Buffer): Buffer => message,
  },
};

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #server: Server;
  readonly #streams = new Set<NodeStream>();
  #wholeAnswers = 0;

  constructor(
    options: ControlServerOptions,
    private readonly resources: Resources,
  ) {
    this.#options = options;
    this.#server = new Server({
      'grpc.max_receive_message_length': grpcLimits.messageBytesMax,
      'grpc.max_send_message_length': grpcLimits.messageBytesMax,
      'grpc.keepalive_time_ms': grpcLimits.pingIntervalMs,
      'grpc.keepalive_timeout_ms': grpcLimits.pingTimeoutMs,
    });
    this.#server.addService(discoveryService, {
      deltaAggregatedResources: (call: ServerDuplexStream<DeltaDiscoveryRequest, Buffer>) =>
        void this.#onStream(call),
    });
    this.#server.addService(IstioCertificateServiceService, {
      createCertificate: (
        call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
        answer: sendUnaryData<IstioCertificateResponse>,
      ) => void this.#onCertificate(call, answer),
    });
    this.#server.addService(NodeReportsService, {
      report: (
        call: ServerUnaryCall<NodeReport, NodeReportAnswer>,
        answer: sendUnaryData<NodeReportAnswer>,
      ) => void this.#onReport(call, answer),
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

  /** Which nodes follow; of waypoints there are none among them. */
  get nodes(): ReadonlySet<string> {
    return new Set([...this.#streams].map(({ node }) => node).filter((name) => !waypointOfCaller(name)));
  }

  /** Tells every node what of it concerns it. */
  update(changed: readonly ChangedNames[]): void {
    for (const { typeUrl, node, names } of changed) {
      let shared: Buffer | undefined;
      for (const stream of this.#streams) {
        if (node !== undefined && stream.node !== node) continue;
        const followed = stream.types.get(typeUrl);
        if (!followed) continue;
        if (stream.sending || followed.dirty.size > 0) {
          for (const name of names) followed.dirty.add(name);
          continue;
        }
        shared ??= this.resources.block(typeUrl, stream.node, names);
        this.#send(stream, typeUrl, followed, shared);
      }
    }
  }

  #send(
    stream: NodeStream,
    typeUrl: string,
    followed: { nonce: string },
    block: Buffer,
    done?: () => void,
  ): void {
    followed.nonce = String(++stream.nonces);
    stream.sending = true;
    stream.call.write(responseOf(block, typeUrl, followed.nonce), () => {
      stream.sending = false;
      done?.();
      this.#next(stream);
    });
  }

  /** What there is to say to a node that has read what it was sent. */
  #next(stream: NodeStream): void {
    if (stream.sending || !this.#streams.has(stream)) return;
    for (const [typeUrl, has] of stream.asked) {
      if (this.#wholeAnswers >= wholeAnswersMax) break;
      stream.asked.delete(typeUrl);
      const followed = { dirty: new Set<string>(), nonce: '' };
      const block = this.resources.difference(typeUrl, stream.node, has);
      // A type that is not served is answered with nothing: a client waits for its first answer.
      if (block) stream.types.set(typeUrl, followed);
      this.#wholeAnswers++;
      let over = false;
      const done = (): void => {
        if (over) return;
        over = true;
        clearTimeout(late);
        this.#wholeAnswers--;
        for (const other of this.#streams) {
          if (this.#wholeAnswers >= wholeAnswersMax) return;
          if (other.asked.size > 0 && other !== stream) this.#next(other);
        }
      };
      const late = setTimeout(done, wholeAnswerMsMax);
      stream.call.once('close', done);
      this.#send(stream, typeUrl, followed, block ?? Buffer.alloc(0), done);
      return;
    }
    for (const [typeUrl, followed] of stream.types) {
      if (followed.dirty.size === 0) continue;
      const { dirty } = followed;
      followed.dirty = new Set();
      this.#send(stream, typeUrl, followed, this.resources.block(typeUrl, stream.node, dirty));
      return;
    }
  }

  async #node(metadata: Metadata): Promise<string | undefined> {
    const [header] = metadata.get('authorization');
    const token = typeof header === 'string' ? /^Bearer (\S+)$/.exec(header.trim())?.[1] : undefined;
    return token === undefined ? undefined : this.#options.callerOfToken(token);
  }

  async #onStream(call: ServerDuplexStream<DeltaDiscoveryRequest, Buffer>): Promise<void> {
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
    let node: string | undefined;
    try {
      node = await this.#node(call.metadata);
    } catch (error) {
      // Nobody can say whose token it is: the node keeps what it knows, and comes again.
      this.#options.log.warn(
        { peer: call.getPeer(), error: errorText(error) },
        'a token could not be checked',
      );
      call.emit('error', { code: status.UNAVAILABLE, details: 'the token cannot be checked now' });
      return;
    }
    if (node === undefined) {
      this.#options.log.warn({ peer: call.getPeer() }, 'discovery refused: no valid token');
      call.emit('error', {
        code: status.UNAUTHENTICATED,
        details: 'no valid node token: make one by weft token',
      });
      return;
    }
    const stream: NodeStream = { node, call, types: new Map(), asked: new Map(), sending: false, nonces: 0 };
    this.#streams.add(stream);
    close = () => void this.#streams.delete(stream);
    take = (request) => this.#onRequest(stream, request);
    // A node in a queue sees that somebody is there.
    call.sendMetadata(new Metadata());
    this.#options.log.info({ node }, 'node connected');
    for (const request of early) take(request);
  }

  #onRequest(stream: NodeStream, request: DeltaDiscoveryRequest): void {
    const { typeUrl } = request;
    const followed = stream.types.get(typeUrl);
    if (followed) {
      if (request.errorDetail && request.responseNonce === followed.nonce) {
        // Sent again unchanged it would be refused again; it goes out anew when it changes.
        this.#options.log.warn(
          { node: stream.node, typeUrl, error: request.errorDetail.message },
          'node refused a resource',
        );
      }
      return;
    }
    // An acknowledgement of a type that is not served.
    if (request.responseNonce !== '' || stream.asked.size >= typesMax) return;
    stream.asked.set(typeUrl, request.initialResourceVersions);
    this.#next(stream);
  }

  async #onReport(
    call: ServerUnaryCall<NodeReport, NodeReportAnswer>,
    answer: sendUnaryData<NodeReportAnswer>,
  ): Promise<void> {
    const { log, onReport } = this.#options;
    try {
      const node = await this.#node(call.metadata);
      if (node === undefined) return answer({ code: status.UNAUTHENTICATED, details: 'no valid node token' });
      onReport?.(node, call.request);
      answer(null, {});
    } catch (error) {
      log.warn({ peer: call.getPeer(), error: errorText(error) }, 'a report was not taken');
      answer({ code: status.UNAVAILABLE, details: 'tried again later' });
    }
  }

  async #onCertificate(
    call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
    answer: sendUnaryData<IstioCertificateResponse>,
  ): Promise<void> {
    const { ca, log, mayAsk, certTtlS } = this.#options;
    const refuse = (code: status, details: string, fields: object): void => {
      this.#options.onCertificate?.(false);
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
          waypointOfCaller(node)
            ? `${asked.slice(0, 256)} is not the identity of ${node}, or its Gateway is not there`
            : `no pod with identity ${asked.slice(0, 256)} runs on node ${node}`,
          { node },
        );
      }
      const ttlS = certTtlS ?? Math.min(Math.max(call.request.validityDuration || 86_400, 60), ttlSMax);
      answer(null, { certChain: ca.issue(csr.value.publicKeyPem, parseSpiffeId(asked), ttlS) });
      this.#options.onCertificate?.(true);
      log.info({ node, identity: asked }, 'certificate issued');
    } catch (error) {
      refuse(status.INTERNAL, errorText(error), {});
    }
  }
}
