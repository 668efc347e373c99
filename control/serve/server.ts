/** The control plane's port: delta ADS, certificates and node reports, for nodes and waypoints that authenticate with a token. */
import { Server } from '@grpc/grpc-js';
import { errorText, WeftError } from '../../src/base/errors.js';
import { parseListenAddress } from '../../src/base/listen-address.js';
import { RateLimiter } from '../../src/base/rate-limiter.js';
import { IstioCertificateServiceService } from '../../src/discovery/gen/ca.js';
import { AggregatedDiscoveryServiceService } from '../../src/discovery/gen/discovery.js';
import {
  ChangeReportsService,
  EdgeReportsService,
  NodeReportsService,
  TapsService,
} from '../../src/discovery/gen/weft.js';
import type { Capabilities } from '../../src/discovery/capabilities.js';
import { grpcLimits } from '../../src/discovery/types.js';
import type { KeyAndCertificate } from '../../src/tls/issue.js';
import { ServedCertificate } from '../../src/tls/served-certificate.js';
import {
  Authenticator,
  type Caller,
  type CallerOfToken,
  type RefusedCall,
} from '../authentication/authenticator.js';
import { certificateService, type CertificateServiceOptions } from '../certificates/service.js';
import type { WaypointName } from '../compile/waypoints.js';
import type { ControlLog } from '../log.js';
import { Connections, type connectionLimits } from './connections.js';
import { DeltaStreams, type DeltaCall, type DeltaStreamsOptions } from './delta-streams.js';
import { changeReports, type ChangeReportsOptions } from './change-reports.js';
import { edgeReports, type EdgeReportsOptions } from './edge-reports.js';
import { nodeReports, type NodeReportsOptions } from './node-reports.js';
import { TapReports, type TapReportsOptions } from './tap-reports.js';
import type { ChangedNames, Resources } from './resources.js';

/** A connection without calls is closed after this time. */
const idleMsMax = 5 * 60_000;
/** Interval at which the tokens of open streams are checked again. */
const recheckMs = 5_000;

const refusalLineRate = { perSecond: 5, burst: 50 } as const;
const refusalTexts: Readonly<Record<RefusedCall, string>> = {
  'no-token': 'refused: no valid token',
  checking: 'refused: too many calls wait for their token to be checked',
  'check-failed': 'a token could not be checked',
  connections: 'refused: too many connections of one caller',
  rate: 'refused: too many calls of one caller',
  waiting: 'refused: too many calls of one caller wait',
  time: 'refused: a call took too long',
};

export interface ControlServerOptions
  extends
    Omit<DeltaStreamsOptions, 'resources'>,
    Omit<CertificateServiceOptions, 'callerOf'>,
    Omit<NodeReportsOptions, 'callerOf'>,
    Omit<EdgeReportsOptions, 'callerOf'>,
    Omit<ChangeReportsOptions, 'callerOf'>,
    TapReportsOptions {
  /** ADDR:PORT */
  readonly listen: string;
  /** Serving certificate of TLS handshakes. */
  readonly certificate: KeyAndCertificate;
  /** Authenticates a token. The caller's name is a node's, or `waypoint:<namespace>/<name>`. */
  readonly callerOfToken: CallerOfToken;
  /** A call was refused before its handler ran. */
  readonly onRefused?: (why: RefusedCall) => void;
  readonly connectionLimits?: Partial<Record<keyof typeof connectionLimits, number>>;
  readonly log: ControlLog;
}

/** Responses are encoded once for all nodes, so serialization passes them through. */
const discoveryService = {
  deltaAggregatedResources: {
    ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
    responseSerialize: (message: Buffer): Buffer => message,
  },
};

export class ControlServer {
  readonly #listen: string;
  readonly #server: Server;
  readonly #connections: Connections;
  readonly #certificate: ServedCertificate;
  readonly #streams: DeltaStreams;
  readonly #taps: TapReports;
  #rechecks: NodeJS.Timeout | undefined;

  constructor(options: ControlServerOptions, resources: Resources) {
    this.#listen = options.listen;
    const authenticator = this.#authenticator(options);
    const callerOf = (call: { readonly metadata: DeltaCall['metadata'] }): Caller =>
      authenticator.callerOf(call.metadata);
    this.#server = new Server({
      interceptors: [authenticator.interceptor],
      'grpc.max_concurrent_streams': grpcLimits.streamsPerConnectionMax,
      'grpc.max_connection_idle_ms': idleMsMax,
      'grpc.max_receive_message_length': grpcLimits.requestBytesMax,
      'grpc.max_send_message_length': grpcLimits.messageBytesMax,
      'grpc.keepalive_time_ms': grpcLimits.pingIntervalMs,
      'grpc.keepalive_timeout_ms': grpcLimits.pingTimeoutMs,
    });
    this.#streams = new DeltaStreams({ ...options, resources });
    this.#server.addService(discoveryService, {
      deltaAggregatedResources: (call: DeltaCall) => this.#streams.open(call, callerOf(call)),
    });
    this.#server.addService(IstioCertificateServiceService, {
      createCertificate: certificateService({ ...options, callerOf }),
    });
    this.#server.addService(NodeReportsService, { report: nodeReports({ ...options, callerOf }) });
    this.#server.addService(EdgeReportsService, edgeReports({ ...options, callerOf }));
    this.#server.addService(ChangeReportsService, changeReports({ ...options, callerOf }));
    this.#taps = new TapReports(options, callerOf);
    this.#server.addService(TapsService, this.#taps.methods);
    this.#certificate = new ServedCertificate(options.certificate);
    const injector = this.#server.createConnectionInjector(this.#certificate.credentials());
    this.#connections = new Connections({
      onConnection: (socket) => injector.injectConnection(socket),
      onLimit: (limit) => options.onLimit?.(limit),
      ...(options.connectionLimits ? { limits: options.connectionLimits } : {}),
    });
  }

  #authenticator({ callerOfToken, onRefused, log }: ControlServerOptions): Authenticator {
    const refusalLines = new RateLimiter(refusalLineRate);
    let unlogged = 0;
    return new Authenticator({
      callerOfToken,
      onAuthenticated: (address, port, caller) => this.#connections.authenticated(address, port, caller),
      isUnauthenticated: (address, port) => this.#connections.isUnauthenticated(address, port),
      onRefused: (why, peer, error) => {
        onRefused?.(why);
        // Anyone can cause refused calls: all are counted, but the log is rate limited.
        if (!refusalLines.take('')) return void unlogged++;
        log.warn({ peer, unlogged, ...(error === undefined ? {} : { error }) }, refusalTexts[why]);
        unlogged = 0;
      },
    });
  }

  /** Resolves with the port. Error: WEFT_LISTEN. */
  async start(): Promise<number> {
    const at = parseListenAddress(this.#listen);
    try {
      this.#rechecks = setInterval(() => void this.recheck(), recheckMs);
      return await this.#connections.listen(at?.host ?? '', at?.port ?? NaN);
    } catch (error) {
      throw new WeftError('WEFT_LISTEN', `cannot listen on ${this.#listen}: ${errorText(error)}`, {
        cause: error,
      });
    }
  }

  stop(): void {
    clearInterval(this.#rechecks);
    this.#connections.close();
    this.#server.forceShutdown();
    this.#streams.clear();
  }

  /** Sets the certificate for new handshakes. Open connections stay. */
  present(certificate: KeyAndCertificate): void {
    this.#certificate.present(certificate);
  }

  /** Number of open delta ADS streams, of nodes and waypoints. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Names of the nodes that have a stream. Waypoints are not among them. */
  get nodes(): ReadonlySet<string> {
    return this.#streams.nodes;
  }

  /** The versions of a waypoint's open streams that lack features of this version. */
  olderVersions(waypoint: WaypointName): readonly Capabilities[] {
    return this.#streams.olderVersions(waypoint);
  }

  /** Sends changed resources to the nodes and waypoints that have subscribed to them. */
  update(changed: readonly ChangedNames[]): void {
    this.#streams.update(changed);
  }

  /** Ends the streams whose token is no longer valid. */
  async recheck(): Promise<void> {
    await Promise.all([this.#streams.recheck(), this.#taps.recheck()]);
  }
}
