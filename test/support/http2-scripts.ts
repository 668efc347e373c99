/** Random sequences of frames: valid ones, and changed ones. */
import { RandomEncoder } from './http2-blocks.js';
import { endHeaders, endStream, frame, frameType, u32 } from './http2-frames.js';

type Random = (below: number) => number;
const padded = 8;
const hasPriority = 0x20;

const setting = (id: number, value: number): Buffer => {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(id);
  bytes.writeUInt32BE(value, 2);
  return bytes;
};

const extraFields = [
  ['accept', '*/*'],
  ['cookie', 'a=b'],
  ['cookie', 'c=0123456789012345678901234567890123456789'],
  ['user-agent', 'fuzz/1'],
  ['x-\x7e', ''],
  ['x-latin', '\xe9\xff \t\x80'],
  ['x-big', 'b'.repeat(500)],
  ['authorization', 'Bearer 1'],
  ['te', 'trailers'],
  ['x-empty', ''],
] as const;

/** To a client: the stream of a HEAD request. */
export const headId = 5;

/** Writes valid scripts; the receiver of what it writes is a server, or a client that has sent requests. */
export class ScriptWriter {
  readonly frames: Buffer[] = [];
  private readonly encoder: RandomEncoder;
  /** Streams on which more may be sent. */
  private open: number[] = [];
  private ended: number[] = [];
  private nextId = 1;
  /** Bytes of DATA: below the initial windows, so that no credit is needed. */
  private bytes = 0;

  constructor(
    private readonly random: Random,
    private readonly role: 'to-server' | 'to-client',
    requests = 0,
  ) {
    this.encoder = new RandomEncoder(random);
    this.frames.push(this.settings());
    for (let i = 0; i < requests; i++) this.waiting.push(i * 2 + 1);
  }
  /** To a client: requests without a response's head. */
  private readonly waiting: number[] = [];

  write(steps: number): Buffer[] {
    for (let i = 0; i < steps; i++) this.step();
    // What the windows hold back is let go.
    this.frames.push(
      frame(frameType.settings, 0, 0, setting(4, 100_000)),
      frame(frameType.window, 0, 0, u32(1 << 24)),
    );
    for (const id of [...this.open, ...this.ended])
      this.frames.push(frame(frameType.window, 0, id, u32(1 << 20)));
    return this.frames;
  }

  private step(): void {
    const { random } = this;
    const kind = random(16);
    if (kind < 4) this.begin();
    else if (kind < 9) this.data();
    else if (kind === 9) this.trailers();
    else if (kind === 10) this.reset();
    else if (kind === 11) this.frames.push(this.settings());
    else if (kind === 12) this.frames.push(frame(frameType.ping, 0, 0, Buffer.alloc(8, random(200))));
    else if (kind === 13) this.window();
    else if (kind === 14) this.priority();
    else
      this.frames.push(
        frame(0x20 + random(100), random(256), random(3) * 2 + 1, Buffer.alloc(random(20), 7)),
      );
  }

  private settings(): Buffer {
    const { random } = this;
    const entries: Buffer[] = [];
    if (random(3) === 0) entries.push(setting(4, random(3) === 0 ? random(50) : 65_535 + random(1000)));
    if (random(4) === 0) entries.push(setting(5, 16_384 + random(100_000)));
    if (random(4) === 0) entries.push(setting(1, [0, 100, 4096, 65_536][random(4)] as number));
    if (random(4) === 0) entries.push(setting(0x99, random(100)));
    if (random(6) === 0) entries.push(setting(3, 100 + random(100)));
    return frame(frameType.settings, 0, 0, Buffer.concat(entries));
  }

  private begin(): void {
    const { random } = this;
    let fields: string[];
    let id: number;
    if (this.role === 'to-server') {
      id = this.nextId;
      this.nextId += 2 * (1 + (random(10) === 0 ? 1 : 0));
      const path = `/${random(3) === 0 ? 'now' : 'end'}/${[0, 1, 100, 3000, 20_000][random(5)]}/${random(4)}`;
      const pseudo = [
        [':method', random(2) ? 'POST' : 'GET'],
        [':scheme', 'http'],
        [':path', path],
        [':authority', 'a.test'],
      ];
      for (let i = 3; i > 0; i--) pseudo.push(pseudo.splice(random(i), 1)[0] as string[]);
      fields = pseudo.flat();
    } else {
      if (this.waiting.length === 0) return;
      const at = random(this.waiting.length);
      id = this.waiting[at] as number;
      if (random(4) === 0) {
        this.headers(id, [':status', '103', 'link', '<x>'], false);
        return;
      }
      this.waiting.splice(at, 1);
      fields = [':status', ['200', '404', '500', '302'][random(4)] as string, 'date', 'd'];
    }
    for (let i = random(4); i > 0; i--)
      fields.push(...(extraFields[random(extraFields.length)] as readonly string[]));
    // A response to HEAD has no body.
    const ends = random(3) === 0 || (this.role === 'to-client' && id === headId);
    this.headers(id, fields, ends);
    (ends ? this.ended : this.open).push(id);
  }

  private headers(id: number, fields: readonly string[], ends: boolean): void {
    const { random } = this;
    let block = this.encoder.encode(fields);
    const fragments: Buffer[] = [];
    // nghttp2 refuses more than 8 CONTINUATION frames.
    while (random(3) === 0 && fragments.length < 8) {
      const length = random(block.length + 1);
      fragments.push(block.subarray(0, length));
      block = block.subarray(length);
    }
    fragments.push(block);
    fragments.forEach((fragment, i) => {
      const last = i === fragments.length - 1 ? endHeaders : 0;
      if (i > 0) return void this.frames.push(frame(frameType.continuation, last, id, fragment));
      let flags = last | (ends ? endStream : 0);
      let payload = fragment;
      if (random(5) === 0) {
        flags |= hasPriority;
        payload = Buffer.concat([u32(random(2) === 0 ? 0 : id + 2), Buffer.from([random(256)]), payload]);
      }
      if (random(5) === 0) {
        flags |= padded;
        payload = pad(payload, random(40));
      }
      this.frames.push(frame(frameType.headers, flags, id, payload));
    });
  }

  private data(): void {
    const { random } = this;
    const id = this.open[random(this.open.length)];
    if (id === undefined) return;
    const bytes = [0, 1, 10, 1000, 8000][random(5)] as number;
    if (this.bytes + bytes + 256 > 60_000) return;
    const ends = random(3) === 0;
    let flags = ends ? endStream : 0;
    let payload: Buffer = Buffer.alloc(bytes, `${id}.`);
    if (random(4) === 0) {
      flags |= padded;
      payload = pad(payload, random(200));
    }
    this.bytes += payload.length;
    if (ends) this.close(id);
    this.frames.push(frame(frameType.data, flags, id, payload));
  }

  private trailers(): void {
    const id = this.open[this.random(this.open.length)];
    if (id === undefined) return;
    this.close(id);
    this.headers(id, ['x-trailer', 'yes', ...(this.random(2) === 0 ? ['grpc-status', '0'] : [])], true);
  }

  private reset(): void {
    const { random } = this;
    const ids = random(2) === 0 ? this.open : this.ended;
    const id = ids[random(ids.length)];
    if (id === undefined) return;
    this.open = this.open.filter((other) => other !== id);
    this.ended = this.ended.filter((other) => other !== id);
    this.frames.push(frame(frameType.rst, 0, id, u32(1 + random(13))));
  }

  private window(): void {
    const { random } = this;
    const ids = [0, ...this.open, ...this.ended];
    this.frames.push(frame(frameType.window, 0, ids[random(ids.length)] as number, u32(1 + random(5000))));
  }

  private priority(): void {
    const id = 1 + 2 * this.random(20);
    this.frames.push(frame(frameType.priority, 0, id, Buffer.concat([u32(id + 2), Buffer.from([3])])));
  }

  private close(id: number): void {
    this.open = this.open.filter((other) => other !== id);
    this.ended.push(id);
  }
}

function pad(payload: Buffer, bytes: number): Buffer {
  return Buffer.concat([Buffer.from([bytes]), payload, Buffer.alloc(bytes)]);
}

/** Changes frames, at least once. Returns what was changed. */
export function mutate(frames: Buffer[], random: Random): string {
  const done: string[] = [];
  for (let i = 1 + random(2); i > 0; i--) {
    const at = 1 + random(Math.max(1, frames.length - 1));
    const one = Buffer.from(frames[at] ?? frames[0] ?? Buffer.alloc(9));
    const type = one[3];
    const kind = random(11);
    const named = (what: string): void => void done.push(`${what} of a frame of type ${type}`);
    if (kind === 0) {
      named('repetition');
      frames.splice(at, 0, one);
    } else if (kind === 1) {
      named('omission');
      frames.splice(at, 1);
    } else if (kind === 2) {
      named('exchange');
      const other = 1 + random(frames.length - 1);
      frames[at] = frames[other] as Buffer;
      frames[other] = one;
    } else if (kind === 3) {
      named('other type');
      one[3] = random(11);
      frames[at] = one;
    } else if (kind === 4) {
      named('other flags');
      one[4] = random(4) === 0 ? random(256) : (one[4] as number) ^ ([1, 4, 8, 0x20][random(4)] as number);
      frames[at] = one;
    } else if (kind === 5) {
      named('other stream');
      one.writeUInt32BE([0, 1, 2, 3, 5, 7, 9, 21, 2001, 0x7fffffff, 0x80000001][random(11)] as number, 5);
      frames[at] = one;
    } else if (kind <= 8 && one.length > 9) {
      named('other octets');
      for (let n = 1 + random(3); n > 0; n--) {
        const place = 9 + random(Math.min(one.length - 9, 60));
        one[place] = random(2) === 0 ? random(256) : (one[place] as number) ^ (1 << random(8));
      }
      frames[at] = one;
    } else if (kind === 9) {
      const payload = one.subarray(9, 9 + random(one.length - 8));
      named('truncation');
      frames[at] = frame(type as number, one[4] as number, one.readUInt32BE(5), payload);
    } else {
      const value = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff][random(5)] as number;
      done.push(`WINDOW_UPDATE ${value}`);
      frames.splice(at, 0, frame(frameType.window, 0, random(3) * 2, u32(value)));
    }
  }
  return done.join(', ');
}
