/**
 * Messages between two agents of one node while one takes the node over from the other: JSON lines over a Unix socket.
 *
 *     successor                    current agent
 *     take {when, certificates} ->
 *                               <- later {why, retryMs}          nothing has changed; the connection ends
 *                               <- yours {inheritance}           it no longer writes, and its lock is free
 *     alive ...                 ->                               at least each `aliveMs`
 *     done                      ->                               every pod has its listeners: the former agent drains
 *
 * A successor has failed if its connection ends after `yours` and before `done`, or is silent for `silentMsMax`.
 */

/**
 * `any`: a newer agent asks. `ending`: the agent that asks has handed over before, so it gets the node only if the current agent is about
 * to end.
 */
export type When = 'any' | 'ending';

export type FromSuccessor =
  | {
      readonly type: 'take';
      readonly when: When;
      readonly certificates: readonly string[];
      /** Whether the successor is connected to the control plane; absent if its build does not send it. */
      readonly isHeard?: boolean;
    }
  | { readonly type: 'alive' }
  | { readonly type: 'done' };

export type FromCurrent =
  | { readonly type: 'later'; readonly why: string; readonly retryMs: number }
  | { readonly type: 'yours'; readonly inheritance: InheritanceText };

/** State that only the former agent knows. */
export interface Inheritance {
  /** Connections older than their pods' enrollment: socket cookies by network namespace cookie. */
  readonly preexisting: ReadonlyMap<bigint, ReadonlySet<bigint>>;
}
export interface InheritanceText {
  readonly preexisting: Readonly<Record<string, readonly string[]>>;
}

export const aliveMs = 1_000;
/** A successor that sends nothing for this long counts as hung. */
export const silentMsMax = 15_000;
/** Limit of one line. A pod may have thousands of connections that are older than its enrollment. */
const lineCharactersMax = 16 << 20;

export const encodeInheritance = ({ preexisting }: Inheritance): InheritanceText => ({
  preexisting: Object.fromEntries(
    [...preexisting].map(([cookie, sockets]) => [String(cookie), [...sockets].map(String)]),
  ),
});

export const decodeInheritance = ({ preexisting }: InheritanceText): Inheritance => ({
  preexisting: new Map(
    Object.entries(preexisting).map(([cookie, sockets]) => [BigInt(cookie), new Set(sockets.map(BigInt))]),
  ),
});

/**
 * Why the current agent does not hand over now; undefined if it does. Pure.
 * @param question what the successor sent
 * @param present state of the current agent. `isEnding`: it got SIGTERM. `isResting`: a successor failed recently. `isHeard`: it is
 *   connected to the control plane. `certificates`: those that it has and its pods need
 */
export function refusalOf(
  question: Extract<FromSuccessor, { type: 'take' }>,
  present: {
    readonly isEnding: boolean;
    readonly isBusy: boolean;
    readonly isResting: boolean;
    readonly isHeard: boolean;
    readonly certificates: readonly string[];
  },
): string | undefined {
  if (present.isBusy) return 'the current agent is starting or hands over to another agent';
  if (question.when === 'ending' && !present.isEnding) return 'the current agent stays';
  // An agent that is about to end needs a successor more than a pause.
  if (present.isResting && !present.isEnding)
    return 'a successor failed recently: the current agent waits before it hands over again';
  if (question.isHeard === false && present.isHeard && !present.isEnding)
    return 'the successor is not connected to the control plane: its policies may be outdated';
  const theirs = new Set(question.certificates);
  const lacking = present.certificates.filter((id) => !theirs.has(id));
  return lacking.length === 0
    ? undefined
    : `the successor has no certificate for ${lacking[0]}${lacking.length > 1 ? ` and ${lacking.length - 1} others` : ''}`;
}

/** Splits a stream into lines. `push` throws if a line is longer than the limit. */
export class Lines {
  #text = '';

  constructor(private readonly charactersMax = lineCharactersMax) {}

  push(part: string): string[] {
    this.#text += part;
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    if (this.#text.length > this.charactersMax)
      throw new Error(`a line of more than ${this.charactersMax} characters`);
    return lines.filter((line) => line !== '');
  }
}
