/**
 * One flush per connection and turn of the event loop. Deeper connections flush first: what they hand to an outer connection is in the
 * outer connection's flush of the same turn.
 */
export interface Flushable {
  readonly depth: number;
  /** The scheduler's own mark: in a list. */
  isScheduled: boolean;
  flush(): void;
}

/** By depth. */
const scheduled: Flushable[][] = [];
let isArmed = false;
/** The depth that is being flushed; -1: none. */
let running = -1;

/** `one.flush()` runs once, after the current callbacks of the event loop. */
export function schedule(one: Flushable): void {
  if (one.isScheduled) return;
  one.isScheduled = true;
  const { depth } = one;
  while (scheduled.length <= depth) scheduled.push([]);
  (scheduled[depth] as Flushable[]).push(one);
  if (isArmed || depth < running) return;
  isArmed = true;
  setImmediate(run);
}

function run(): void {
  isArmed = false;
  for (let depth = scheduled.length - 1; depth >= 0; depth--) {
    const list = scheduled[depth] as Flushable[];
    if (list.length === 0) continue;
    scheduled[depth] = [];
    running = depth;
    flushAll(list);
  }
  running = -1;
}

function flushAll(list: Flushable[]): void {
  let at = 0;
  try {
    for (; at < list.length; at++) {
      const one = list[at] as Flushable;
      one.isScheduled = false;
      one.flush();
    }
  } finally {
    // An owner's event threw: the others flush in the next turn.
    if (at < list.length) {
      running = -1;
      for (const one of list.slice(at + 1)) {
        one.isScheduled = false;
        schedule(one);
      }
      if (!isArmed) {
        isArmed = true;
        setImmediate(run);
      }
    }
  }
}
