/**
 * Client of weft.v1.Taps: a program keeps one stream to the control plane, on which it is told which taps are on, and sends what they want. A
 * control plane or a connection that is slow costs events, which are counted, never memory. When the stream ends, so do all taps.
 */
import { status, type Client, type ClientDuplexStream } from '@grpc/grpc-js';
import { errorText } from '../base/errors.js';
import { tapSendMs, type TakenTaps, type TapSetting } from '../telemetry/taps.js';
import { decodeTapQuery, encodeTappedEvent, tapEventLimits } from './codec/tap.js';
import { TapReport, TapSet } from './gen/weft.js';
import { connect, streamOptions } from './connect.js';
import type { ControlPlane } from './unary-call.js';

const path = '/weft.v1.Taps/Report';
const backoffMs = { min: 1_000, max: 30_000 } as const;
/** Until the next try with a control plane that has no taps, or does not let this program report. */
const unsupportedMs = 600_000;
const leaseMsMax = 120_000;
const setBytesMax = 4 << 20;

const noTaps: TapSetting = { taps: [], leaseMs: 0 };

export interface TapClientParts {
  readonly control: ControlPlane;
  /** All taps that are on from now on, until the lease ends. */
  readonly onTaps: (setting: TapSetting) => void;
  /** What taps want, since the last call; undefined: nothing. */
  readonly take: () => TakenTaps | undefined;
  /** The stream failed for another reason than the last time. */
  readonly onProblem: (why: string) => void;
}

/** A tap that cannot be decoded, such as one with a filter of a later version, is left out: it would show more than was asked for. Pure. */
export function settingOf({ taps, leaseMs }: TapSet): TapSetting {
  return {
    taps: taps.slice(0, tapEventLimits.tapsMax).flatMap(({ number, filter, sampleOf }) => {
      const query = decodeTapQuery(filter, sampleOf);
      return query ? [{ number, query }] : [];
    }),
    leaseMs: Math.min(leaseMs, leaseMsMax),
  };
}

const reportOf = ({ events, lost }: TakenTaps): TapReport => ({
  events: events.map(encodeTappedEvent),
  lost: [...lost],
});

export class TapClient {
  readonly #parts: TapClientParts;
  #client: Client | undefined;
  #stream: ClientDuplexStream<TapReport, TapSet> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #sends: NodeJS.Timeout | undefined;
  #isOn = false;
  #isWriting = false;
  #failures = 0;
  #problem = '';
  #isStopped = false;

  constructor(parts: TapClientParts) {
    this.#parts = parts;
  }

  start(): void {
    if (this.#isStopped) return;
    let stream: ClientDuplexStream<TapReport, TapSet>;
    try {
      const { client, metadata } = connect(this.#parts.control, streamOptions(setBytesMax));
      this.#client = client;
      stream = client.makeBidiStreamRequest(
        path,
        (report: TapReport) => Buffer.from(TapReport.encode(report).finish()),
        (bytes) => TapSet.decode(bytes),
        metadata,
      );
    } catch (error) {
      return this.#ended(undefined, errorText(error));
    }
    this.#stream = stream;
    stream.on('metadata', () => (this.#failures = 0));
    stream.on('data', (set: TapSet) => {
      if (stream === this.#stream) this.#onSet(set);
    });
    let isOver = false;
    const end = (code: status | undefined, why: string): void => {
      if (isOver) return;
      isOver = true;
      if (stream === this.#stream) this.#ended(code, why);
    };
    stream.on('error', (error) => end((error as { readonly code?: status }).code, errorText(error)));
    stream.on('end', () => end(undefined, 'the control plane ended the stream'));
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#sends);
    this.#stream?.cancel();
    this.#client?.close();
  }

  #onSet(set: TapSet): void {
    const setting = settingOf(set);
    this.#isOn = setting.taps.length > 0;
    this.#parts.onTaps(setting);
    this.#send();
  }

  /** Runs while a tap is on. One message is under way: meanwhile the program's buffer fills, and counts what is lost. */
  #send(): void {
    const stream = this.#stream;
    if (this.#sends || this.#isWriting || !this.#isOn || !stream) return;
    this.#sends = setTimeout(() => {
      this.#sends = undefined;
      const taken = stream === this.#stream ? this.#parts.take() : undefined;
      if (!taken) return this.#send();
      this.#isWriting = true;
      stream.write(reportOf(taken), () => {
        if (stream !== this.#stream) return;
        this.#isWriting = false;
        this.#send();
      });
    }, tapSendMs);
    this.#sends.unref();
  }

  #ended(code: status | undefined, why: string): void {
    this.#client?.close();
    this.#client = this.#stream = undefined;
    this.#isOn = this.#isWriting = false;
    this.#parts.onTaps(noTaps);
    if (this.#isStopped) return;
    const isUnsupported = code === status.UNIMPLEMENTED || code === status.PERMISSION_DENIED;
    if (why !== this.#problem) this.#parts.onProblem(why);
    this.#problem = why;
    const delayMs = Math.min(backoffMs.max, backoffMs.min * 2 ** this.#failures++);
    this.#retry = setTimeout(
      () => this.start(),
      (isUnsupported ? unsupportedMs : delayMs) * (0.5 + Math.random() / 2),
    );
    this.#retry.unref();
  }
}
