/**
 * The client of delta ADS: subscribes to all resources of each type, applies the valid ones and rejects (NACK) the others. After a
 * broken stream it sends the versions that it has, so that the server sends only differences; until then the last state stays in use.
 */
import type { Client, ClientDuplexStream } from '@grpc/grpc-js';
import { errorText } from '../base/errors.js';
import type { Clock } from '../base/clock.js';
import { connect, streamOptions } from './connect.js';
import { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from './gen/discovery.js';
import { grpcLimits, type TypeUrl } from './types.js';

const path = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const backoffMsMin = 500;
const backoffMsMax = 15_000;
/** The address of a replica that is gone may not respond at all: after this time the next attempt uses another connection. */
const firstResponseMsMax = 5_000;
const resourcesMax = 1_000_000;
/** Undecodable resources of one type whose reasons are kept for display. */
const undecodableMax = 10_000;
const reasonBytesMax = 512;

interface Refused {
  readonly ok: false;
  readonly errors: readonly string[];
  /** Applies the closed form, which denies whatever the resource concerns. Undefined: the previous version of the resource stays. */
  readonly closedForm: (() => void) | undefined;
}

/** One resource type: how to decode a resource and how to apply it. `decode` never throws. */
export interface Subscription {
  readonly typeUrl: TypeUrl;
  /**
   * Decodes a resource without applying it; `value` applies it. With errors the resource is rejected: the previous version stays, or
   * `closedForm` is applied, which denies whatever the resource concerns (codec/unknown-fields.ts).
   */
  readonly decode: (
    name: string,
    bytes: Uint8Array,
  ) => { readonly ok: true; readonly value: () => void } | Refused;
  /** Called once per response with removed resources, after the response's valid resources were applied. */
  readonly removed: (names: readonly string[]) => void;
}

export interface DiscoveryOptions {
  /** host:port */
  readonly target: string;
  /** Read at each connection attempt, because roots rotate and tokens are renewed. */
  readonly rootPem: () => string;
  readonly token: () => string;
  readonly nodeId: string;
  readonly nodeName: string;
  readonly subscriptions: readonly Subscription[];
  /** What the program says of itself in the first request of each stream (capabilities.ts); absent: nothing. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
  /** Called after each response, when all its changes are applied. */
  readonly onChange: (typeUrl: TypeUrl) => void;
  /** Called once, when every type has had a response. */
  readonly onSynced: () => void;
  readonly onState: (state: 'connected' | 'disconnected', why: string) => void;
  readonly onRefused: (typeUrl: string, errors: readonly string[]) => void;
  readonly clock: Clock;
}

export class DiscoveryClient {
  readonly #options: DiscoveryOptions;
  #client: Client | undefined;
  readonly #versions = new Map<TypeUrl, Map<string, string>>();
  readonly #receivedTypes = new Set<TypeUrl>();
  readonly #undecodable = new Map<TypeUrl, Map<string, string>>();
  #stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse> | undefined;
  #stopped = false;
  #synced = false;
  #connected = false;
  #failures = 0;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    for (const { typeUrl } of options.subscriptions) this.#versions.set(typeUrl, new Map());
  }

  start(): void {
    if (this.#stopped) return;
    this.#client?.close();
    let connected: ReturnType<typeof connect>;
    try {
      connected = connect(this.#options, streamOptions(grpcLimits.messageBytesMax));
    } catch (error) {
      return this.#onEnd(errorText(error));
    }
    const { client, metadata } = connected;
    this.#client = client;
    const stream = client.makeBidiStreamRequest(
      path,
      (message: DeltaDiscoveryRequest) => Buffer.from(DeltaDiscoveryRequest.encode(message).finish()),
      (bytes) => DeltaDiscoveryResponse.decode(bytes),
      metadata,
    );
    this.#stream = stream;
    stream.on('data', (response: DeltaDiscoveryResponse) => this.#onResponse(stream, response));
    let ended = false;
    const end = (why: string): void => {
      if (ended) return;
      ended = true;
      unwatch();
      this.#onEnd(why);
    };
    const unwatch = this.#options.clock.after(firstResponseMsMax, () => {
      if (this.#stream !== stream || this.#connected) return;
      end(`no response in ${firstResponseMsMax} ms`);
      stream.cancel();
    });
    // The response headers show that the server is alive. It may have many nodes to serve first: a reconnecting node would lose its turn.
    stream.on('metadata', unwatch);
    stream.on('error', (error) => end(errorText(error)));
    stream.on('end', () => end('the control plane ended the stream'));
    this.#options.subscriptions.forEach(({ typeUrl }, index) => {
      const initialResourceVersions = Object.fromEntries(this.#versions.get(typeUrl) ?? []);
      stream.write(this.#request({ typeUrl, initialResourceVersions }, index === 0));
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#stream?.cancel();
    this.#client?.close();
  }

  /** Sends names of a type that has no subscription: a request that is lost if there is no stream. */
  request(typeUrl: string, names: readonly string[]): void {
    if (this.#connected) this.#stream?.write(this.#request({ typeUrl, resourceNamesSubscribe: [...names] }));
  }

  #undecodableOf(typeUrl: TypeUrl): Map<string, string> {
    let names = this.#undecodable.get(typeUrl);
    if (!names) this.#undecodable.set(typeUrl, (names = new Map()));
    return names;
  }

  /** Resources that cannot be decoded at present, with the reason: their closed form or their previous version is in use. */
  undecodable(): { readonly type: string; readonly why: string }[] {
    return [...this.#undecodable].flatMap(([typeUrl, names]) =>
      [...names.values()].map((why) => ({ type: typeUrl.slice(typeUrl.lastIndexOf('.') + 1), why })),
    );
  }

  #request(part: Partial<DeltaDiscoveryRequest>, isFirst = false): DeltaDiscoveryRequest {
    const { nodeId, nodeName, capabilities } = this.#options;
    const own = { NODE_NAME: nodeName, CLUSTER_ID: 'Kubernetes' };
    return DeltaDiscoveryRequest.fromPartial({
      node: { id: nodeId, cluster: '', metadata: isFirst ? { ...own, ...capabilities } : own },
      ...part,
    });
  }

  #onEnd(why: string): void {
    this.#stream = undefined;
    if (this.#stopped) return;
    this.#connected = false;
    this.#options.onState('disconnected', why);
    const delayMs = Math.min(backoffMsMax, backoffMsMin * 2 ** this.#failures++) * (0.5 + Math.random() / 2);
    this.#options.clock.after(delayMs, () => this.start());
  }

  #onResponse(
    stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>,
    response: DeltaDiscoveryResponse,
  ): void {
    if (stream !== this.#stream) return;
    if (!this.#connected) this.#options.onState('connected', this.#options.target);
    this.#connected = true;
    this.#failures = 0;
    const subscription = this.#options.subscriptions.find(({ typeUrl }) => typeUrl === response.typeUrl);
    const versions = subscription && this.#versions.get(subscription.typeUrl);
    if (!subscription || !versions) return;
    const errors: string[] = [];
    const fresh: string[] = [];
    const undecodable = this.#undecodableOf(subscription.typeUrl);
    for (const { name, version, resource } of response.resources) {
      if (versions.size >= resourcesMax && !versions.has(name)) {
        errors.push(`${name}: more than ${resourcesMax} resources`);
        fresh.push(...errors.slice(-1));
        continue;
      }
      const decoded = subscription.decode(name, resource?.value ?? new Uint8Array());
      if (decoded.ok) {
        decoded.value();
        versions.set(name, version);
        undecodable.delete(name);
        continue;
      }
      if (decoded.closedForm) {
        decoded.closedForm();
        // Recorded because the server later removes the resource by this name.
        versions.set(name, version);
      }
      const all = decoded.errors.map((error) => `${name}: ${error}`);
      errors.push(...all);
      const why = all.join('; ').slice(0, reasonBytesMax);
      // The server sends the resource again after each reconnect, so only new reasons are reported.
      if (undecodable.get(name) !== why) fresh.push(...all);
      if (undecodable.has(name) || undecodable.size < undecodableMax) undecodable.set(name, why);
    }
    for (const name of response.removedResources) {
      versions.delete(name);
      undecodable.delete(name);
    }
    if (response.removedResources.length > 0) subscription.removed(response.removedResources);
    this.#options.onChange(subscription.typeUrl);
    if (fresh.length > 0) this.#options.onRefused(response.typeUrl, fresh);
    stream.write(
      this.#request({
        typeUrl: response.typeUrl,
        responseNonce: response.nonce,
        // The valid resources are already in use. The error names the others, which the server must not resend unchanged.
        errorDetail: errors.length > 0 ? { code: 3, message: errors.slice(0, 20).join('; ') } : undefined,
      }),
    );
    this.#receivedTypes.add(subscription.typeUrl);
    if (!this.#synced && this.#receivedTypes.size === this.#options.subscriptions.length) {
      this.#synced = true;
      this.#options.onSynced();
    }
  }
}
