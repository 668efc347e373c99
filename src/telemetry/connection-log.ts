/** The connection log file: one JSON object per line, written asynchronously and rotated by size. */
import { existsSync, renameSync, statSync } from 'node:fs';
import { pino } from 'pino';
import { levelOf, withPort, type ConnectionRecord } from './connection-record.js';
import { RateLimiter } from '../base/rate-limiter.js';
import type { ConnectionTap } from './connection-tap.js';

export interface ConnectionLogOptions {
  readonly path: string;
  /** At this size the file is renamed to `<path>.1`, replacing the previous one. */
  readonly fileBytesMax?: number;
  /** Bytes of lines that may wait for the disk. Lines beyond that are dropped and reported to onDropped. */
  readonly waitingBytesMax?: number;
  readonly onDropped: (lines: number) => void;
  /** Called when a line is left out because its pod (or a refused source) has exceeded its rate limit. */
  readonly onShareUsed?: () => void;
  /** Gets what has a line, also if the line is left out. */
  readonly tap?: ConnectionTap;
  /** Called for each record that gets a line, with its pod. `make` may be called at once, or not at all. */
  readonly onLine?: (pod: string, make: () => ConnectionRecord) => void;
}

export interface LineValues {
  /** Of a connection that a carrier relays: as in its record. Letters, digits and `._-/`. */
  readonly id?: string;
  readonly clientPort: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Absent: it cannot be spliced. */
  readonly bytesSpliced?: number;
  readonly durationMs: number;
  readonly ended: string;
}

let isoMs = 0;
let isoText = '';
/** The formatted time is cached: thousands of lines share a millisecond. */
function isoNow(): string {
  const now = Date.now();
  if (now !== isoMs) {
    isoMs = now;
    isoText = new Date(now).toISOString();
  }
  return isoText;
}

/** Rate of one pod. The file is rotated by size: a pod that opens connections in a loop would rotate away the lines of all other pods. */
const lineRate = { burst: 20_000, perSecond: 1_000 };
/** Rate of one refused source: less than a pod's rate, so that a flood from one source hides no refusal of another. */
const refusedRate = { burst: 2_000, perSecond: 100 };

/** The connection's pod on this node, to which the line is charged. */
function podOf({ direction, source, destination }: ConnectionRecord): string {
  const { namespace, pod } = direction === 'outbound' ? source : destination;
  return `${namespace}/${pod}`;
}

/** The source of a refused inbound connection: its identity, or its address without the port. Undefined for other records. */
function refusedSourceOf({ direction, path, source }: ConnectionRecord): string | undefined {
  if (direction !== 'inbound' || path !== 'refused') return undefined;
  return source.identity === 'unknown' ? source.address.replace(/:\d+$/, '') : source.identity;
}

/** Lines of one turn share a write, up to this. */
const writeCharsMax = 64 << 10;
const linesOf = (text: string): number => {
  let lines = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
  return lines;
};

const fileBytesMaxDefault = 64 << 20;
const waitingBytesMaxDefault = 8 << 20;
/** A disk that takes no line for so long must not hold back those who wait for it. */
const waitMsMax = 1_000;

/** The record of one connection of a template. */
function filledRecord(record: ConnectionRecord, { clientPort, ...values }: LineValues): ConnectionRecord {
  const address = withPort(record.source.address, clientPort);
  return { ...record, ...values, source: { ...record.source, address } };
}

/** Waits until so many bytes are written. */
interface Waiter {
  readonly bytes: number;
  readonly call: () => void;
  readonly timer: NodeJS.Timeout;
}

export class ConnectionLog {
  readonly #file: ReturnType<typeof pino.destination>;
  readonly #log: pino.Logger;
  readonly #options: ConnectionLogOptions;
  readonly #lines = new RateLimiter(lineRate);
  /** Limits each refused source separately; `#lines` limits all lines of a pod together. */
  readonly #refused = new RateLimiter(refusedRate);
  #bytes: number;
  /** Lines of this turn. */
  #turn = '';
  /** Of this process's lines: those that were given to the file, and those that the system has. */
  #givenBytes = 0;
  #writtenBytes = 0;
  readonly #waiters: Waiter[] = [];
  /** The last write failed. */
  #isFailing = false;

  constructor(options: ConnectionLogOptions) {
    this.#options = options;
    this.#bytes = existsSync(options.path) ? statSync(options.path).size : 0;
    this.#file = pino.destination({
      dest: options.path,
      sync: false,
      maxLength: options.waitingBytesMax ?? waitingBytesMaxDefault,
    });
    // Called at the process's exit as well, and throws if the file is not open yet or the disk is full: an agent that ends at once would end with
    // that error in place of its own.
    const flush = this.#file.flushSync.bind(this.#file);
    this.#file.flushSync = () => {
      try {
        flush();
      } catch {
        // At the end the loss cannot be reported.
      }
    };
    this.#file.on('drop', (text: string) => {
      this.#givenBytes -= Buffer.byteLength(text);
      options.onDropped(linesOf(text));
    });
    // A full or vanished disk costs lines, not the agent.
    this.#file.on('error', () => {
      this.#isFailing = true;
      options.onDropped(1);
    });
    this.#file.on('write', (written: number) => this.#wrote(written));
    this.#log = pino(
      { base: {}, timestamp: pino.stdTimeFunctions.isoTime },
      { write: (line: string) => this.#write(line) },
    );
  }

  write(record: ConnectionRecord): void {
    const { tap } = this.#options;
    if (tap?.isOn === true) tap.ended(record);
    const source = refusedSourceOf(record);
    if (source !== undefined && !this.#mayWrite(source, this.#refused)) return;
    if (!this.#mayWrite(podOf(record))) return;
    this.#endTurn();
    this.#options.onLine?.(podOf(record), () => record);
    this.#log[levelOf(record)](record);
  }

  /**
   * A writer of lines that differ only in the client's port, the counts and the end. The JSON is serialized once, not per connection.
   * `record.source.address` is `ip:port`; the port is replaced in each line.
   */
  template(record: ConnectionRecord): (values: LineValues) => void {
    const mark = '\u0000';
    const source = { ...record.source, address: withPort(record.source.address, mark) };
    const {
      bytesSent: _s,
      bytesReceived: _r,
      bytesSpliced: _p,
      durationMs: _d,
      ended: _e,
      ...others
    } = record;
    const [before = '', after = ''] = JSON.stringify({ ...others, source })
      .slice(1)
      .split(JSON.stringify(mark).slice(1, -1));
    const rest = after.slice(0, -1);
    const level = levelOf(record) === 'warn' ? 40 : 30;
    const pod = podOf(record);
    const { tap } = this.#options;
    return (values) => {
      if (tap?.isOn === true) tap.ended(record, values);
      if (!this.#mayWrite(pod)) return;
      this.#options.onLine?.(pod, () => filledRecord(record, values));
      const { id, clientPort, bytesSent, bytesReceived, bytesSpliced, durationMs, ended } = values;
      const named = id === undefined ? '' : `"id":"${id}",`;
      const spliced = bytesSpliced === undefined ? '' : `"bytesSpliced":${bytesSpliced},`;
      this.#add(
        `{"level":${level},"time":"${isoNow()}",${named}${before}${clientPort}${rest},"bytesSent":${bytesSent},"bytesReceived":${bytesReceived},${spliced}"durationMs":${durationMs},"ended":${JSON.stringify(ended)}}\n`,
      );
    };
  }

  #add(line: string): void {
    if (this.#turn === '') queueMicrotask(() => this.#endTurn());
    else if (this.#turn.length >= writeCharsMax) this.#endTurn();
    this.#turn += line;
  }

  #endTurn(): void {
    if (this.#turn === '') return;
    const lines = this.#turn;
    this.#turn = '';
    this.#write(lines);
  }

  /** Calls back once the system has every line so far, or cannot take them. */
  afterLines(call: () => void): void {
    this.#endTurn();
    if (this.#writtenBytes >= this.#givenBytes) return call();
    const waiter: Waiter = {
      bytes: this.#givenBytes,
      call,
      timer: setTimeout(() => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        call();
      }, waitMsMax).unref(),
    };
    this.#waiters.push(waiter);
  }

  #write(lines: string): void {
    this.#givenBytes += Buffer.byteLength(lines);
    this.#file.write(lines);
  }

  #mayWrite(whose: string, lines = this.#lines): boolean {
    if (lines.take(whose)) return true;
    this.#options.onShareUsed?.();
    return false;
  }

  #wrote(bytes: number): void {
    this.#isFailing = false;
    this.#writtenBytes += bytes;
    for (let [first] = this.#waiters; first && first.bytes <= this.#writtenBytes; [first] = this.#waiters) {
      this.#waiters.shift();
      clearTimeout(first.timer);
      first.call();
    }
    this.#bytes += bytes;
    if (this.#bytes < (this.#options.fileBytesMax ?? fileBytesMaxDefault)) return;
    this.#bytes = 0;
    try {
      renameSync(this.#options.path, `${this.#options.path}.1`);
    } catch {
      // The file was already moved by another process. The lines that follow still go to a new file.
    }
    this.#file.reopen();
  }

  close(): void {
    this.#endTurn();
    // A flush would try for ever.
    if (this.#isFailing) return this.#file.destroy();
    this.#file.flushSync();
    this.#file.end();
  }
}
