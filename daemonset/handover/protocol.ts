/**
 * What two agents of one node say to each other while one takes the node over from the other: JSON lines over a Unix socket.
 *
 *     successor                    present agent
 *     take {when, certificates} ->
 *                               <- later {why, retryMs}          nothing has changed; the connection ends
 *                               <- yours {inheritance}           it writes nothing any more, and its lock is free
 *     alive ...                 ->                               at least each `aliveMs`
 *     done                      ->                               every pod has its listeners: the former agent drains
 *
 * A connection that ends after `yours` and before `done`, or that is silent for `silentMsMax`, means that the successor failed.
 */

/** `any`: a newer agent asks; `ending`: only if the present agent is about to end, since the one that asks has handed over before. */
export type When = 'any' | 'ending';

export type FromSuccessor =
  | {
      readonly type: 'take';
      readonly when: When;
      readonly certificates: readonly string[];
      /** Whether the control plane is heard; absent: the build does not say. */
      readonly isHeard?: boolean;
    }
  | { readonly type: 'alive' }
  | { readonly type: 'done' };

export type FromPresent =
  | { readonly type: 'later'; readonly why: string; readonly retryMs: number }
  | { readonly type: 'yours'; readonly inheritance: InheritanceText };

/** What only the former agent knows. */
export interface Inheritance {
  /** Connections older than their pods' enrollment, socket cookies by network namespace cookie. */
  readonly preexisting: ReadonlyMap<bigint, ReadonlySet<bigint>>;
}
export interface InheritanceText {
  readonly preexisting: Readonly<Record<string, readonly string[]>>;
}

export const aliveMs = 1_000;
/** The present agent takes a successor that sends nothing for so long for one that hangs. */
export const silentMsMax = 15_000;
/** A pod may have thousands of connections that are older than its enrollment. */
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
 * Whether the present agent hands over now: undefined, or why it does not. Pure.
 * @param question what the successor says of itself
 * @param present `isEnding`: it got its SIGTERM; `isResting`: a successor failed a moment ago; `isHeard`: it hears the control plane;
 *   `certificates`: those that it has and its pods need
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
  if (present.isBusy) return 'the present agent starts, or hands over to another';
  if (question.when === 'ending' && !present.isEnding) return 'the present agent stays';
  // An agent that ends needs a successor more than a pause.
  if (present.isResting && !present.isEnding)
    return 'a successor failed a moment ago: the present agent waits before it hands over again';
  if (question.isHeard === false && present.isHeard && !present.isEnding)
    return 'the control plane is not heard by the successor: it may know policies of before';
  const theirs = new Set(question.certificates);
  const lacking = present.certificates.filter((id) => !theirs.has(id));
  return lacking.length === 0
    ? undefined
    : `the successor has no certificate for ${lacking[0]}${lacking.length > 1 ? ` and ${lacking.length - 1} others` : ''}`;
}

/** Splits a stream into lines. `push` throws where a line is longer than the limit. */
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
