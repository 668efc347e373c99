/** The file of connection lines: JSON, one a line, written behind the caller's back and kept within a size. */
import { existsSync, renameSync, statSync } from 'node:fs';
import { pino } from 'pino';
import { levelOf, type ConnectionRecord } from './connection-record.js';
import { RateLimiter } from '../base/rate-limiter.js';

export interface ConnectionLogOptions {
  readonly path: string;
  /** At this size the file becomes `<path>.1`, in place of the one before. */
  readonly fileBytesMax?: number;
  /** Lines that wait for the disk; beyond that they are dropped and told to onDropped. */
  readonly waitingBytesMax?: number;
  readonly onDropped: () => void;
  /** A line is left out since its pod has written more than its share. */
  readonly onShareUsed?: () => void;
}

export interface LineValues {
  readonly clientPort: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly bytesSpliced: number;
  readonly durationMs: number;
  readonly ended: string;
}

let isoMs = 0;
let isoText = '';
/** Thousands of lines share a millisecond. */
function isoNow(): string {
  const now = Date.now();
  if (now !== isoMs) {
    isoMs = now;
    isoText = new Date(now).toISOString();
  }
  return isoText;
}

/** Of one pod. The file is rotated by size: a pod that opens connections in a loop would rotate away the lines of every other pod. */
const lineRate = { burst: 20_000, perSecond: 1_000 };
/** About one source that pods refuse: a part of a pod's share, so that a flood of it hides no refusal of others. */
const refusedRate = { burst: 2_000, perSecond: 100 };

/** The pod at this node, whose agent writes the line. */
function podOf({ direction, source, destination }: ConnectionRecord): string {
  const { namespace, pod } = direction === 'outbound' ? source : destination;
  return `${namespace}/${pod}`;
}

/** By whose doing a pod's line says that somebody was refused: an identity, or an address without its port. */
function refusedSourceOf({ direction, path, source }: ConnectionRecord): string | undefined {
  if (direction !== 'inbound' || path !== 'refused') return undefined;
  return source.identity === 'unknown' ? source.address.replace(/:\d+$/, '') : source.identity;
}

const fileBytesMaxDefault = 64 << 20;
const waitingBytesMaxDefault = 8 << 20;

export class ConnectionLog {
  readonly #file: ReturnType<typeof pino.destination>;
  readonly #log: pino.Logger;
  readonly #options: ConnectionLogOptions;
  readonly #lines = new RateLimiter(lineRate);
  /** Of whoever is refused at a pod: the pod's own share is for all who come. */
  readonly #refused = new RateLimiter(refusedRate);
  #bytes: number;

  constructor(options: ConnectionLogOptions) {
    this.#options = options;
    this.#bytes = existsSync(options.path) ? statSync(options.path).size : 0;
    this.#file = pino.destination({
      dest: options.path,
      sync: false,
      maxLength: options.waitingBytesMax ?? waitingBytesMaxDefault,
    });
    this.#file.on('drop', options.onDropped);
    // A full or vanished disk costs lines, not the agent.
    this.#file.on('error', options.onDropped);
    this.#file.on('write', (written: number) => this.#wrote(written));
    this.#log = pino({ base: {}, timestamp: pino.stdTimeFunctions.isoTime }, this.#file);
  }

  write(record: ConnectionRecord): void {
    const source = refusedSourceOf(record);
    if (source !== undefined && !this.#mayWrite(source, this.#refused)) return;
    if (!this.#mayWrite(podOf(record))) return;
    this.#log[levelOf(record)](record);
  }

  /**
   * A writer of lines that are alike but for the client's port, counts and end: JSON is made once, not per connection.
   * `record.source.address` is `ip:port`; its port is replaced.
   */
  template(record: ConnectionRecord): (values: LineValues) => void {
    const mark = '\u0000';
    const at = record.source.address.lastIndexOf(':') + 1;
    const source = { ...record.source, address: `${record.source.address.slice(0, at)}${mark}` };
    const { bytesSent: _s, bytesReceived: _r, bytesSpliced: _p, durationMs: _d, ended: _e, ...rest } = record;
    const [before = '', after = ''] = JSON.stringify({ ...rest, source })
      .slice(1)
      .split(JSON.stringify(mark).slice(1, -1));
    const level = levelOf(record) === 'warn' ? 40 : 30;
    const pod = podOf(record);
    return (values) => {
      if (!this.#mayWrite(pod)) return;
      this.#file.write(
        `{"level":${level},"time":"${isoNow()}",${before}${values.clientPort}${after.slice(0, -1)},"bytesSent":${values.bytesSent},"bytesReceived":${values.bytesReceived},"bytesSpliced":${values.bytesSpliced},"durationMs":${values.durationMs},"ended":${JSON.stringify(values.ended)}}\n`,
      );
    };
  }

  #mayWrite(whose: string, lines = this.#lines): boolean {
    if (lines.take(whose)) return true;
    this.#options.onShareUsed?.();
    return false;
  }

  #wrote(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < (this.#options.fileBytesMax ?? fileBytesMaxDefault)) return;
    this.#bytes = 0;
    try {
      renameSync(this.#options.path, `${this.#options.path}.1`);
    } catch {
      // Somebody else has moved it: what follows goes to a new file all the same.
    }
    this.#file.reopen();
  }

  close(): void {
    try {
      this.#file.flushSync();
    } catch {
      // Never opened, or the disk is full: there is nobody left to tell.
    }
    this.#file.end();
  }
}
