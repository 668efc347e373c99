/**
 * Regular expressions of routes (RE2 syntax). Their authors and the requests may belong to a tenant, so the cost of compiling and matching
 * is bounded: the process that compiles or matches them serves other tenants as well.
 */
import { RE2JS } from 're2js';

/** Limit of steps in the compiled program of one expression. Compiling costs some 10 us per step. */
export const regexWeightMax = 1000;
/** Limit of steps of all expressions of one route. */
export const routeRegexWeightMax = 8192;
/** Limit of program steps times characters of the text. Each may cost some 250 ns in the worst case. */
const matchStepsMax = 200_000;
/** Longest text after a replacement. */
const replacedCharsMax = 65_536;
/** Limit of the parts of a substitution times its matches: each part costs time, also if it is empty. */
const replacedPartsMax = 65_536;

/** Estimates, without compiling, a lower bound of the number of steps in the compiled program. Stops counting far above the limit. */
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
        // A closing bracket in first position or escaped is a member of the class.
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

/** The expression that matches this text and no other. */
export const quoteRegex = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** Compiles an expression. Throws if it is not valid RE2 syntax or too expensive. */
function compileRegex(source: string): RE2JS {
  if (regexWeight(source) > regexWeightMax)
    throw new Error(`it has more than ${regexWeightMax} steps with its repetitions expanded`);
  const pattern = RE2JS.compile(source);
  if (pattern.programSize() > 4 * regexWeightMax)
    throw new Error(`it has more than ${4 * regexWeightMax} steps after compilation`);
  return pattern;
}

const checkedMax = 4096;
const checked = new Map<string, string>();
/**
 * Why an expression cannot be used; empty if it can. Results are cached, because a route is compiled again whenever its Services change.
 */
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

/** A request cannot be matched within the cost limits of its expression. */
export class RegexCost extends Error {}

/** Time budget of expressions for the clients of one namespace. When it is used up, requests that need an expression are refused. */
export class RegexTime {
  #leftMs: number;
  #atMs = performance.now();
  constructor(
    private readonly burstMs = 250,
    /** Fraction of time by which the budget is refilled. */
    private readonly share = 0.25,
  ) {
    this.#leftMs = burstMs;
  }

  /** Runs `work` and charges its time. Throws RegexCost if the budget is used up. */
  run<T>(work: () => T): T {
    const startMs = performance.now();
    this.#leftMs = Math.min(this.burstMs, this.#leftMs + (startMs - this.#atMs) * this.share);
    this.#atMs = startMs;
    if (this.#leftMs <= 0)
      throw new RegexCost('requests of this namespace have used up the time budget of regular expressions');
    try {
      return work();
    } finally {
      this.#leftMs -= performance.now() - startMs;
    }
  }
}

/** The parts of a substitution: texts, and numbers of groups. */
const partsOf = (substitution: string): (string | number)[] =>
  substitution
    .split(/(\\[0-9\\])/)
    .map((part, index) => (index % 2 === 0 ? part : part === '\\\\' ? '\\' : Number(part.slice(1))))
    .filter((part) => part !== '');

const groupOf = (matcher: ReturnType<RE2JS['matcher']>, group: number): string =>
  group <= matcher.groupCount() ? (matcher.group(group) ?? '') : '';

/** An expression, compiled on first use: a namespace may have any number of expressions that no request needs. */
export class Regex {
  #pattern: RE2JS | undefined;
  /** Of the last substitution: an expression has one. */
  #parts: { readonly of: string; readonly list: readonly (string | number)[] } | undefined;
  #isReadable = true;
  constructor(
    private readonly source: string,
    private readonly time: Pick<RegexTime, 'run'>,
  ) {}

  /** False after a failed compilation: an expression from a newer control plane may use syntax that this program does not support. */
  get isReadable(): boolean {
    return this.#isReadable;
  }

  /**
   * Replaces each match in the text. Throws if the expression cannot be compiled, if the result is too long, and RegexCost.
   * @param substitution `\1` is the first group, `\0` the match, `\\` a backslash
   */
  replace(text: string, substitution: string): string {
    return this.time.run(() => {
      const pattern = (this.#pattern ??= compileRegex(this.source));
      if (pattern.programSize() * text.length > matchStepsMax)
        throw new RegexCost('the text is too long for its regular expression');
      const matcher = pattern.matcher(text);
      if (this.#parts?.of !== substitution) this.#parts = { of: substitution, list: partsOf(substitution) };
      const { list } = this.#parts;
      let made = '';
      let from = 0;
      for (let parts = 0; matcher.find(); from = matcher.end()) {
        made += text.slice(from, matcher.start());
        parts += list.length;
        if (parts > replacedPartsMax) throw new RegexCost('the replacement has too many parts');
        for (const part of list) {
          made += typeof part === 'number' ? groupOf(matcher, part) : part;
          if (made.length > replacedCharsMax) throw new RegexCost('the replaced text is too long');
        }
      }
      return made + text.slice(from);
    });
  }

  /** Matches the whole text. An expression that cannot be compiled matches any text. Throws RegexCost. */
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
