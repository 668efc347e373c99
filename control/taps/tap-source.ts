/** Taps over all replicas: a program reports to any one of them. */
import type { Client, ClientDuplexStream } from '@grpc/grpc-js';
import { decodeTapEvent, encodeTapFilter } from '../../src/discovery/codec/tap.js';
import { connect, streamOptions } from '../../src/discovery/connect.js';
import { TapBatch, TapWatch } from '../../src/discovery/gen/weft.js';
import type { ControlPlane } from '../../src/discovery/unary-call.js';
import type { TapQuery } from '../../src/model/tap.js';
import type { Peers } from '../edges/peers.js';
import type { TapHub, TapReading } from './tap-hub.js';
import type { TapQueue } from './tap-queue.js';
import type { TapReader } from './tap-reader.js';

const path = '/weft.v1.Taps/Watch';
const batchBytesMax = 16 << 20;
/** How often replicas are looked for that have no stream. */
const lookMs = 5_000;

/** A tap over all replicas. */
export interface OpenTap extends TapReading {
  /** Programs that are connected to this replica. */
  readonly programs: number;
}

/** To a reader whose tap was not opened. */
export const tooManyTaps =
  'too many taps are open, or too many of this user or of its namespace: end another weft tap, or a live view of the page, and try again';

export interface TapSource {
  /** Undefined: too many taps are open. @param reader whose share it uses, at all replicas */
  open(query: TapQuery, reader: TapReader): OpenTap | undefined;
}

export class ReplicatedTaps implements TapSource {
  constructor(
    private readonly hub: TapHub,
    private readonly peers: Peers,
  ) {}

  open(query: TapQuery, reader: TapReader): OpenTap | undefined {
    const { hub, peers } = this;
    const reading = hub.open(query, reader);
    if (!reading) return undefined;
    const { queue } = reading;
    const streams = new Map<string, () => void>();
    const missing = new Set<string>();
    let reported = '';
    const reportMissing = (): void => {
      const names = [...missing].sort();
      if (names.join() !== reported) queue.missing(names);
      reported = names.join();
    };
    const look = (): void => {
      let replicas: ReturnType<Peers['replicas']> = [];
      try {
        replicas = peers.replicas();
      } catch {
        return;
      }
      const names = new Set(replicas.map(({ name }) => name));
      for (const name of missing) if (!names.has(name)) missing.delete(name);
      for (const replica of replicas) {
        const { name } = replica;
        if (streams.has(name)) continue;
        streams.set(
          name,
          watch(peers.controlPlane(replica), { query, reader }, queue, (isConnected) => {
            if (isConnected) missing.delete(name);
            else {
              missing.add(name);
              streams.delete(name);
            }
            reportMissing();
          }),
        );
      }
      reportMissing();
    };
    look();
    const looks = setInterval(look, lookMs).unref();
    return {
      queue,
      programs: hub.programs,
      close: () => {
        clearInterval(looks);
        for (const close of streams.values()) close();
        reading.close();
      },
    };
  }
}

/** Reads the events of a replica into the queue. Returns how to end it. */
function watch(
  control: ControlPlane,
  { query, reader }: { readonly query: TapQuery; readonly reader: TapReader },
  queue: TapQueue,
  onState: (isConnected: boolean) => void,
): () => void {
  let client: Client | undefined;
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    client?.close();
    // Not during the call that opens it.
    setImmediate(() => onState(false));
  };
  let stream: ClientDuplexStream<TapWatch, TapBatch> | undefined;
  try {
    const connected = connect(control, streamOptions(batchBytesMax));
    ({ client } = connected);
    stream = client.makeBidiStreamRequest(
      path,
      (message: TapWatch) => Buffer.from(TapWatch.encode(message).finish()),
      (bytes) => TapBatch.decode(bytes),
      connected.metadata,
    );
  } catch {
    end();
    return () => undefined;
  }
  let isConnected = false;
  stream.on('data', ({ events, lost }: TapBatch) => {
    if (isOver) return;
    if (!isConnected) onState((isConnected = true));
    queue.lose(lost);
    for (const encoded of events) {
      const event = decodeTapEvent(encoded);
      if (event) queue.push(event);
    }
  });
  stream.on('error', end);
  stream.on('end', end);
  stream.write({ filter: encodeTapFilter(query.filter), sampleOf: query.sampleOf, ...reader });
  return () => {
    isOver = true;
    stream.cancel();
    client.close();
  };
}
