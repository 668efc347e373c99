/** One port: delta ADS and certificates, both for nodes and waypoints that show their token. */
import {
  Server,
  status,
  Metadata,
  type sendUnaryData,
  type ServerDuplexStream,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { errorText, WeftError } from '../../src/base/errors.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';
import { parseSpiffeId, workloadIdentityOf, type SpiffeId } from '../../src/model/identity.js';
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
} from '../../src/discovery/gen/discovery.js';
import {
  IstioCertificateServiceService,
  type IstioCertificateRequest,
  type IstioCertificateResponse,
} from '../../src/discovery/gen/ca.js';
import {
  NodeReportsService,
  type NodeReport,
  type NodeReportResponse,
} from '../../src/discovery/gen/weft.js';
import { grpcLimits } from '../../src/discovery/types.js';
import { type KeyAndCertificate } from '../../src/tls/issue.js';
import { parseCsr } from '../../src/tls/csr.js';
import { waypointOfCaller } from '../compile/waypoints.js';
import {
  Authenticator,
  type Caller,
  type CallerOfToken,
  type RefusedCall,
} from '../authentication/authenticator.js';
import type { CertificateAuthority } from '../certificates/ca.js';
import { Connections, type connectionLimits } from './connections.js';
import { PresentedCertificate } from '../certificates/serving-certificate.js';
import { responseOf, type ChangedNames, type Resources } from './resources.js';
import { Turns } from './turns.js';

const ttlSMax = 7 * 86_400;
const typesMax = 64;
/** A node has one stream, and a second one while its agent is replaced; a waypoint has one per replica. */
const streamsPerCallerMax = { node: 4, waypoint: 256 } as const;
/** Names that all streams of a caller say they have, while they wait for their answer: more than all resources of a mesh. */
const waitingNamesMaxDefault = 2_000_000;
/** A connection without calls is ended. */
const idleMsMax = 5 * 60_000;
/** How often tokens of open streams are looked at. */
const recheckMs = 5_000;
/** Entries of one report, and what one text of it may hold. */
const reportLimits = { pods: 4_096, missing: 64, textChars: 4_096 } as const;

const refusalLineRate = { perSecond: 5, burst: 50 } as const;
const refusals: Readonly<Record<RefusedCall, string>> = {
  'no-token': 'refused: no valid token',
  checking: 'refused: too many calls wait for their token to be checked',
  'check-failed': 'a token could not be checked',
  connections: 'refused: too many connections of one caller',
  rate: 'refused: too many calls of one caller',
  waiting: 'refused: too many calls of one caller wait',
  time: 'refused: a call took too long',
};

/** Why a report is not taken; undefined where it is. Pure. */
function reportErrorOf({ pods, missing, cniProblem, version }: NodeReport): string | undefined {
  if (pods.length > reportLimits.pods) return `more than ${reportLimits.pods} pods`;
  if (missing.length > reportLimits.missing) return `more than ${reportLimits.missing} missing features`;
  const texts = [
    version,
    cniProblem,
    ...missing,
    ...pods.flatMap(({ uid, podUid, why }) => [uid, podUid, why]),
  ];
  return texts.some((text) => text.length > reportLimits.textChars)
    ? `a text of more than ${reportLimits.textChars} characters`
    : undefined;
}

export interface ServeLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
}

export interface ControlServerOptions {
  readonly listen: string;
  readonly certificate: KeyAndCertificate;
  readonly ca: CertificateAuthority;
  /** The name of a node, or `waypoint:<namespace>/<name>`; below it is a node where nothing else is said. */
  readonly callerOfToken: CallerOfToken;
  /** True where some pod with this identity runs on the node; where the waypoint is it. */
  readonly mayAsk: (caller: string, identity: string) => boolean;
  readonly certTtlS: number | undefined;
  readonly onCertificate?: (issued: boolean) => void;
  /** A call was turned away ahead of its handler. */
  readonly onRefused?: (why: RefusedCall) => void;
  /** A limit of docs/limits.md was reached. */
  readonly onLimit?: (limit: string) => void;
  readonly connectionLimits?: Partial<Record<keyof typeof connectionLimits, number>>;
  /** Two million where absent. */
  readonly waitingNamesMax?: number;
  /** What is served may be older than what others were told, and why; undefined: it is not. */
  readonly stale?: () => string | undefined;
  /** What a node's agent says it holds. */
  readonly onReport?: (node: string, report: NodeReport) => void;
  readonly log: ServeLog;
}

interface NodeStream {
  readonly node: string;
  readonly caller: Caller;
  readonly call: ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;
  /** By type that the node follows: names that changed while it was still reading what was sent before. */
  readonly types: Map<string, { dirty: Set<string>; nonce: string }>;
  /** Types that it asked for and has no answer of yet, with what it has. */
  readonly asked: Map<string, Readonly<Record<string, string>>>;
  /** One message at a time is on its way: a node that reads slowly holds up nobody, and is told the latest only. */
  sending: boolean;
  nonces: number;
}

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
  readonly #authenticator: Authenticator;
  readonly #connections: Connections;
  readonly #certificate: PresentedCertificate;
  readonly #streams = new Set<NodeStream>();
  readonly #turns = new Turns();
  readonly #rechecking = new Set<NodeStream>();
  #rechecks: NodeJS.Timeout | undefined;

  constructor(
    options: ControlServerOptions,
    private readonly resources: Resources,
  ) {
    this.#options = options;
    const { callerOfToken, onLimit, log } = options;
    const refusalLines = new RateLimiter(refusalLineRate);
    let unlogged = 0;
    this.#authenticator = new Authenticator({
      callerOfToken,
      onAuthenticated: (address, port, caller) => this.#connections.authenticated(address, port, caller),
      isStranger: (address, port) => this.#connections.isStranger(address, port),
      onRefused: (why, peer, error) => {
        options.onRefused?.(why);
        // Anybody can have calls refused: they are counted, and some are logged.
        if (!refusalLines.take('')) return void unlogged++;
        log.warn({ peer, unlogged, ...(error === undefined ? {} : { error }) }, refusals[why]);
        unlogged = 0;
      },
    });
    this.#server = new Server({
      interceptors: [this.#authenticator.interceptor],
      'grpc.max_concurrent_streams': grpcLimits.streamsPerConnectionMax,
      'grpc.max_connection_idle_ms': idleMsMax,
      'grpc.max_receive_message_length': grpcLimits.requestBytesMax,
      'grpc.max_send_message_length': grpcLimits.messageBytesMax,
      'grpc.keepalive_time_ms': grpcLimits.pingIntervalMs,
      'grpc.keepalive_timeout_ms': grpcLimits.pingTimeoutMs,
    });
    this.#server.addService(discoveryService, {
      deltaAggregatedResources: (call: ServerDuplexStream<DeltaDiscoveryRequest, Buffer>) =>
        this.#onStream(call),
    });
    this.#server.addService(IstioCertificateServiceService, {
      createCertificate: (
        call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
        answer: sendUnaryData<IstioCertificateResponse>,
      ) => this.#onCertificate(call, answer),
    });
    this.#server.addService(NodeReportsService, {
      report: (
        call: ServerUnaryCall<NodeReport, NodeReportResponse>,
        answer: sendUnaryData<NodeReportResponse>,
      ) => this.#onReport(call, answer),
    });
    this.#certificate = new PresentedCertificate(options.certificate);
    const injector = this.#server.createConnectionInjector(this.#certificate.credentials());
    this.#connections = new Connections({
      onConnection: (socket) => injector.injectConnection(socket),
      onLimit: (limit) => onLimit?.(limit),
      ...(options.connectionLimits ? { limits: options.connectionLimits } : {}),
    });
  }

  /** Resolves with the port. Error: WEFT_LISTEN. */
  async start(): Promise<number> {
    const { listen } = this.#options;
    const at = /^(.*):(\d+)$/.exec(listen);
    try {
      this.#rechecks = setInterval(() => void this.recheck(), recheckMs);
      return await this.#connections.listen((at?.[1] ?? '').replace(/^\[|\]$/g, ''), Number(at?.[2]));
    } catch (error) {
      throw new WeftError('WEFT_LISTEN', `cannot listen on ${listen}: ${errorText(error)}`, { cause: error });
    }
  }

  stop(): void {
    clearInterval(this.#rechecks);
    this.#connections.close();
    this.#server.forceShutdown();
    this.#streams.clear();
  }

  /** Handshakes from now on show this certificate; connections that stand go on. */
  present(certificate: KeyAndCertificate): void {
    this.#certificate.present(certificate);
  }

  /** Streams that are followed, of nodes and waypoints. */
  get streams(): number {
    return this.#streams.size;
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
    const [asked] = stream.asked;
    if (asked && this.#turns.mayBegin(stream.node)) return this.#tellWhole(stream, ...asked);
    for (const [typeUrl, followed] of stream.types) {
      if (followed.dirty.size === 0) continue;
      const { dirty } = followed;
      followed.dirty = new Set();
      this.#send(stream, typeUrl, followed, this.resources.block(typeUrl, stream.node, dirty));
      return;
    }
  }

  #tellWhole(stream: NodeStream, typeUrl: string, has: Readonly<Record<string, string>>): void {
    stream.asked.delete(typeUrl);
    const followed = { dirty: new Set<string>(), nonce: '' };
    const block = this.resources.difference(typeUrl, stream.node, has);
    // A type that is not served is answered with nothing: a client waits for its first answer.
    if (block) stream.types.set(typeUrl, followed);
    const end = this.#turns.begin(stream.node);
    let over = false;
    const done = (): void => {
      if (over) return;
      over = true;
      clearTimeout(late);
      stream.call.off('close', done);
      end();
      this.#tellWaiting();
    };
    const late = setTimeout(done, wholeAnswerMsMax);
    stream.call.once('close', done);
    this.#send(stream, typeUrl, followed, block ?? Buffer.alloc(0), done);
  }

  /** A turn is free. */
  #tellWaiting(): void {
    const waiting = [...this.#streams].filter(({ asked, sending }) => asked.size > 0 && !sending);
    for (let next = this.#turns.next(waiting); next; next = this.#turns.next(waiting)) {
      waiting.splice(waiting.indexOf(next), 1);
      this.#next(next);
    }
  }

  #onStream(call: ServerDuplexStream<DeltaDiscoveryRequest, Buffer>): void {
    const caller = this.#authenticator.callerOf(call.metadata);
    const node = caller.name;
    const stream: NodeStream = {
      node,
      caller,
      call,
      types: new Map(),
      asked: new Map(),
      sending: false,
      nonces: 0,
    };
    this.#makeRoom(node);
    this.#streams.add(stream);
    const close = (): void => void this.#streams.delete(stream);
    call.on('error', () => undefined);
    call.on('cancelled', close);
    call.on('close', close);
    call.on('end', () => {
      close();
      call.end();
    });
    call.on('data', (request: DeltaDiscoveryRequest) => this.#onRequest(stream, request));
    // A node in a queue sees that somebody is there.
    call.sendMetadata(new Metadata());
    this.#options.log.info({ node }, 'node connected');
  }

  /** A caller has so many streams; of more, the oldest ends: what comes back after a lost connection is the newest. */
  #makeRoom(node: string): void {
    const own = [...this.#streams].filter((stream) => stream.node === node);
    const max = waypointOfCaller(node) ? streamsPerCallerMax.waypoint : streamsPerCallerMax.node;
    for (const stream of own.slice(0, Math.max(0, own.length - max + 1))) {
      this.#options.onLimit?.('control-streams');
      this.#options.log.warn({ node, max }, 'too many discovery streams of one caller: its oldest is ended');
      this.#end(stream, status.RESOURCE_EXHAUSTED, 'too many streams of this caller');
    }
  }

  #end(stream: NodeStream, code: status, details: string): void {
    this.#streams.delete(stream);
    stream.call.emit('error', { code, details });
  }

  /** Ends the streams whose token counts no more; where nobody can say, they go on. */
  async recheck(): Promise<void> {
    await Promise.all([...this.#streams].map((stream) => this.#recheck(stream)));
  }

  async #recheck(stream: NodeStream): Promise<void> {
    const { log } = this.#options;
    const { node, caller } = stream;
    // One whose check takes long keeps no other from its own.
    if (!caller.recheck || this.#rechecking.has(stream)) return;
    this.#rechecking.add(stream);
    try {
      if (await caller.recheck()) return;
    } catch (error) {
      return log.warn({ node, error: errorText(error) }, 'a token could not be checked again');
    } finally {
      this.#rechecking.delete(stream);
    }
    if (!this.#streams.has(stream)) return;
    log.warn({ node }, 'a stream is ended: its token has expired, was revoked, or is of what is gone');
    this.#end(
      stream,
      status.UNAUTHENTICATED,
      'the token has expired, was revoked, or is of a pod, node or Gateway that is gone',
    );
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
    if (request.responseNonce !== '' || stream.asked.size >= typesMax || !this.#streams.has(stream)) return;
    const stale = this.#options.stale?.();
    if (stale !== undefined && Object.keys(request.initialResourceVersions).length > 0) {
      // It knows something already, which may be newer: it keeps that, and comes again. One that knows nothing is told what is known.
      this.#options.log.warn({ node: stream.node, why: stale }, 'a node is not told what may be old');
      this.#options.onLimit?.('control-stale');
      return this.#end(stream, status.UNAVAILABLE, `not told what may be old: ${stale}`);
    }
    // Of a type that is not served nobody will ask what the node has of it.
    stream.asked.set(typeUrl, this.resources.isServed(typeUrl) ? request.initialResourceVersions : {});
    this.#next(stream);
    const { waitingNamesMax = waitingNamesMaxDefault } = this.#options;
    if (stream.asked.size === 0 || this.#waitingNames(stream.node) <= waitingNamesMax) return;
    this.#options.onLimit?.('control-waiting-names');
    this.#options.log.warn({ node: stream.node }, 'a stream is ended: its caller waits with too many names');
    this.#end(stream, status.RESOURCE_EXHAUSTED, 'too many names wait for their answer: try again');
  }

  /** What a caller said it has, of types that it has no answer of yet. */
  #waitingNames(node: string): number {
    let names = 0;
    for (const stream of this.#streams) {
      if (stream.node !== node) continue;
      for (const has of stream.asked.values()) names += Object.keys(has).length;
    }
    return names;
  }

  #onReport(
    call: ServerUnaryCall<NodeReport, NodeReportResponse>,
    answer: sendUnaryData<NodeReportResponse>,
  ): void {
    const { log, onReport } = this.#options;
    try {
      const { name: node } = this.#authenticator.callerOf(call.metadata);
      if (waypointOfCaller(node))
        return answer({ code: status.PERMISSION_DENIED, details: 'only the agents of nodes report' });
      const why = reportErrorOf(call.request);
      if (why !== undefined) {
        this.#options.onLimit?.('control-report');
        return answer({ code: status.INVALID_ARGUMENT, details: why });
      }
      onReport?.(node, call.request);
      answer(null, {});
    } catch (error) {
      log.warn({ peer: call.getPeer(), error: errorText(error) }, 'a report was not taken');
      answer({ code: status.UNAVAILABLE, details: 'tried again later' });
    }
  }

  #onCertificate(
    call: ServerUnaryCall<IstioCertificateRequest, IstioCertificateResponse>,
    answer: sendUnaryData<IstioCertificateResponse>,
  ): void {
    const { ca, log, mayAsk, certTtlS } = this.#options;
    const refuse = (code: status, details: string, fields: object): void => {
      this.#options.onCertificate?.(false);
      log.warn({ peer: call.getPeer(), ...fields }, `certificate refused: ${details}`);
      answer({ code, details });
    };
    try {
      const { name: node, namespaces } = this.#authenticator.callerOf(call.metadata);
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
      const namespace = workloadIdentityOf(asked as SpiffeId)?.namespace;
      if (namespaces && (namespace === undefined || !namespaces.includes(namespace))) {
        return refuse(
          status.UNAUTHENTICATED,
          `the token of ${node} is not for the namespace of ${asked.slice(0, 256)}`,
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
