/**
 * Regular expressions of routes (RE2's syntax), whose authors and requests may be a tenant's: what one costs to compile and to match is
 * bounded, since whoever compiles or matches it serves other tenants as well.
 */
import { RE2JS } from 're2js';

/** Steps of a compiled program, of one expression; it costs some 10 us to compile each. */
export const regexWeightMax = 1000;
/** Of all expressions of one route. */
export const routeRegexWeightMax = 8192;
/** Steps of the program times characters of the text; each may cost some 250 ns at the worst. */
export const matchStepsMax = 200_000;

/** About as many steps as the compiled program has, at the least: told before it is compiled. Stops counting far above the limit. */
export function regexWeight(source: string): number {
  const groups: { total: number; last: number }[] = [];
  let here = { total: 0, last: 0 };
  const add = (weight: number): void => {
    here.total += weight;
    here.last = weight;
  };
  for (let i = 0; i < source.length; i++) {
    switch (source[i]) {
      case '\\':
        i++;
        add(1);
        break;
      case '[': {
        // A bracket that stands first is a member of the class, and so is one that is escaped.
        let end = i + (source[i + 1] === '^' ? 2 : 1);
        if (source[end] === ']') end++;
        while (end < source.length && source[end] !== ']') end += source[end] === '\\' ? 2 : 1;
        i = end;
        add(1);
        break;
      }
      case '(':
        groups.push(here);
        here = { total: 1, last: 0 };
        break;
      case ')': {
        const { total } = here;
        here = groups.pop() ?? { total: 0, last: 0 };
        add(total + 1);
        break;
      }
      case '{': {
        const repeat = /^\{(\d{1,6})(?:,(\d{0,6}))?\}/.exec(source.slice(i, i + 16));
        if (!repeat) {
          add(1);
          break;
        }
        const times = Math.max(1, Number(repeat[1]), Number(repeat[2] ?? 0));
        here.total += here.last * (times - 1);
        here.last *= times;
        i += repeat[0].length - 1;
        break;
      }
      default:
        add(1);
    }
    if (here.total > 1_000_000) return here.total;
  }
  return groups.reduce((sum, { total }) => sum + total, here.total);
}

/** Throws for what is no expression of RE2, and for what would cost too much. */
export function compileRegex(source: string): RE2JS {
  if (regexWeight(source) > regexWeightMax)
    throw new Error(`it has more than ${regexWeightMax} steps with its repetitions written out`);
  const pattern = RE2JS.compile(source);
  if (pattern.programSize() > 4 * regexWeightMax)
    throw new Error(`it has more than ${4 * regexWeightMax} steps when it is compiled`);
  return pattern;
}

const checkedMax = 4096;
const checked = new Map<string, string>();
/** Why it cannot be used; empty where it can. Kept for the sources asked last: a route is compiled again when its Services change. */
export function regexProblem(source: string): string {
  const known = checked.get(source);
  if (known !== undefined) return known;
  let problem = '';
  try {
    compileRegex(source);
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  if (checked.size >= checkedMax) checked.clear();
  checked.set(source, problem);
  return problem;
}

/** A request cannot be decided within what its expression may cost. */
export class RegexCost extends Error {}

/** How long expressions may take for requests of one namespace's clients: then those that need them are refused until time has passed. */
export class RegexTime {
  #leftMs: number;
  #atMs = performance.now();
  constructor(
    private readonly burstMs = 250,
    /** Of each second. */
    private readonly share = 0.25,
  ) {
    this.#leftMs = burstMs;
  }

  /** Throws RegexCost where nothing is left. */
  run<T>(work: () => T): T {
    const startMs = performance.now();
    this.#leftMs = Math.min(this.burstMs, this.#leftMs + (startMs - this.#atMs) * this.share);
    this.#atMs = startMs;
    if (this.#leftMs <= 0)
      throw new RegexCost('requests of this namespace have used up the time of regular expressions');
    try {
      return work();
    } finally {
      this.#leftMs -= performance.now() - startMs;
    }
  }
}

/** Compiled when it is first needed, since a namespace may have any number that no request ever asks for. */
export class Regex {
  #pattern: RE2JS | undefined;
  #isReadable = true;
  constructor(
    private readonly source: string,
    private readonly time: RegexTime,
  ) {}

  /** Whether it could be compiled; one of another version may know more than this program. */
  get isReadable(): boolean {
    return this.#isReadable;
  }

  /** Against the whole text. Of what cannot be compiled: any text. Throws RegexCost. */
  test(text: string): boolean {
    return this.time.run(() => {
      if (!this.#isReadable) return true;
      try {
        this.#pattern ??= compileRegex(this.source);
      } catch {
        this.#isReadable = false;
        return true;
      }
      if (this.#pattern.programSize() * text.length > matchStepsMax)
        throw new RegexCost('the text is too long for its regular expression');
      return this.#pattern.matches(text);
    });
  }
}
