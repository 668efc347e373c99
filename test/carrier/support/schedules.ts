/** Random schedules of a connection's two ends, and what each end has to see. */
import { randomOf } from '../../support/random.js';

export type Op = readonly [
  op: 'write' | 'await' | 'awaitend' | 'shut' | 'stall' | 'sleep' | 'reset' | 'close',
  argument: number,
];
type Side = 'client' | 'server';

export interface Expected {
  /** Absent: an end in the middle of bytes decides how many of them arrive. */
  readonly bytes?: number;
  /** Absent: this end does not wait for the other's end. */
  readonly end?: 'end' | 'reset' | 'either';
}
export interface Schedule {
  readonly name: string;
  readonly kind: string;
  readonly client: readonly Op[];
  readonly server: readonly Op[];
  readonly expected: Readonly<Record<Side, Expected>>;
}

const other = (side: Side): Side => (side === 'client' ? 'server' : 'client');
/** `reset` follows a synchronization of both ends, `abort` does not: bytes are on their way. */
const kinds = ['fin', 'fin', 'fin-together', 'reset', 'reset-half-closed', 'abort', 'early'] as const;

class Writer {
  readonly ops: Record<Side, Op[]> = { client: [], server: [] };
  readonly sent: Record<Side, number> = { client: 0, server: 0 };

  constructor(private readonly random: (below: number) => number) {}

  write(side: Side, bytes: number): void {
    this.ops[side].push(['write', bytes]);
    this.sent[side] += bytes;
  }
  /** `side` waits for everything that the other end has sent so far. */
  receive(side: Side): void {
    this.ops[side].push(['await', this.sent[other(side)]]);
  }
  /** Both ends have everything, and `side` knows it. */
  settle(side: Side): void {
    this.receive(side);
    this.receive(other(side));
    this.write(other(side), 1);
    this.receive(side);
  }
  step(): void {
    const { random } = this;
    const side: Side = random(2) === 0 ? 'client' : 'server';
    const kind = random(10);
    if (kind < 6) this.write(side, [1, 100, 5_000, 70_000, 300_000, 1_500_000][random(6)] as number);
    else if (kind < 7) this.ops[side].push(['stall', 1 + random(80)]);
    else if (kind < 8) this.ops[side].push(['sleep', random(20)]);
    else this.receive(side);
  }
}

export function scheduleOf(name: string, seed: number): Schedule {
  const random = randomOf(seed);
  const writer = new Writer(random);
  const kind = kinds[random(kinds.length)] ?? 'fin';
  // The server has the connection before the client may end it.
  if (kind === 'abort') {
    writer.write('server', 1);
    writer.receive('client');
  }
  for (let i = random(8); i > 0; i--) writer.step();
  const first: Side = random(2) === 0 ? 'client' : 'server';
  const last = other(first);
  const { ops, sent } = writer;
  const expected: Record<Side, Expected> = { client: {}, server: {} };
  if (kind === 'fin') {
    ops[first].push(['shut', 0]);
    if (random(2) === 0) ops[last].push(['awaitend', 0]);
    for (let i = random(3); i > 0; i--) writer.write(last, 1 + random(200_000));
    ops[last].push(['awaitend', 0], ['shut', 0]);
    ops[first].push(['awaitend', 0]);
    expected[first] = { bytes: sent[last], end: 'end' };
    expected[last] = { bytes: sent[first], end: 'end' };
  } else if (kind === 'fin-together') {
    for (const side of [first, last]) ops[side].push(['shut', 0], ['awaitend', 0]);
    expected[first] = { bytes: sent[last], end: 'end' };
    expected[last] = { bytes: sent[first], end: 'end' };
  } else if (kind === 'reset') {
    writer.settle(first);
    ops[first].push(['reset', 0]);
    ops[last].push(['awaitend', 0]);
    expected[first] = { bytes: sent[last] };
    expected[last] = { bytes: sent[first], end: 'reset' };
  } else if (kind === 'reset-half-closed') {
    // The end that waits has sent its own end.
    ops[last].push(['shut', 0]);
    ops[first].push(['awaitend', 0]);
    writer.write(first, 1);
    writer.receive(last);
    // The resetting end knows by no byte that its own were read, so it waits.
    ops[first].push(['sleep', 300], ['reset', 0]);
    ops[last].push(['awaitend', 0]);
    expected[first] = { bytes: sent[last], end: 'end' };
    expected[last] = { end: 'reset' };
  } else if (kind === 'abort') {
    ops[first].push(['reset', 0]);
    ops[last].push(['awaitend', 0]);
    expected[last] = { end: 'either' };
  } else {
    // A server that responds early and closes with unread bytes.
    writer.settle('server');
    ops.server.push(['stall', 60_000], ['sleep', 30]);
    writer.write('client', 3_000_000);
    writer.write('server', 1 + random(20_000));
    ops.server.push(['sleep', 50], ['close', 0]);
    ops.client.push(['awaitend', 0]);
    expected.client = { bytes: sent.server, end: 'either' };
  }
  return { name, kind, client: ops.client, server: ops.server, expected };
}
