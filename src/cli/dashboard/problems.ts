/** Configuration problems of the page. Pure. */
import type { Finding } from '../../findings/finding.js';
import type { Problem } from '../../model/mesh-snapshot.js';

/** `AccessPolicy shop/reads: …`, and `Service shop/echo names …`; a file's name and line may be before it. */
const objectPattern =
  /^(?:\S+:\d+: )?([A-Z][A-Za-z]+ [a-z0-9][a-z0-9.-]*(?:\/[a-z0-9][a-z0-9.:-]*)?)(?::? |$)/;

/** A file that cannot be read: which objects it has is not known. */
const filePattern = /^(?:\S*\/)?([^\s/:]+\.(?:ya?ml|json))(?::\d+)?: /;

/** The object, else the file, that a text of `weft check` or `weft status` begins with. */
function objectOf(what: string): string | undefined {
  const object = objectPattern.exec(what)?.[1]?.replace(/:$/, '');
  const file = filePattern.exec(what)?.[1];
  return object ?? (file === undefined ? undefined : `File ${file}`);
}

const problem = (level: Problem['level'], what: string, help: string | undefined): Problem => {
  const object = objectOf(what);
  return {
    level,
    ...(object === undefined ? {} : { object }),
    what,
    ...(help === undefined ? {} : { help }),
  };
};

/** Findings that are no problem are left out. */
export const findingProblems = (findings: readonly Finding[]): Problem[] =>
  findings.flatMap(({ level, what, help }) => (level === 'ok' ? [] : [problem(level, what, help)]));

/** Objects that the control plane says are not in force as written. */
export const unenforcedProblems = (texts: readonly string[]): Problem[] =>
  texts.map((what) => problem('fail', what, 'it is not in force as written: correct it'));

/** What two readers say in the same words: the directory of a file, and what comes after the first comma, may differ. */
const keyOf = ({ what }: Problem): string => what.replace(/^\/\S*\//, '').replace(/,.*$/s, '');

/** Each problem once, failures first: of what two readers say, as the earlier list has it. One reader may say several things that begin alike. */
export function allProblems(...lists: readonly (readonly Problem[])[]): Problem[] {
  const all: Problem[] = [];
  for (const list of lists) {
    const known = new Set(all.map(keyOf));
    all.push(...new Map(list.filter((one) => !known.has(keyOf(one))).map((one) => [one.what, one])).values());
  }
  const rank = ({ level }: Problem): number => (level === 'fail' ? 0 : 1);
  return all.sort((a, b) => rank(a) - rank(b));
}

/** Problems of one namespace, and those that are of no namespace. */
export const problemsOf = (problems: readonly Problem[], namespace: string | undefined): Problem[] =>
  problems.filter(({ object }) => {
    const [kind, name = ''] = object?.split(' ') ?? [];
    if (namespace === undefined || object === undefined) return true;
    return name.includes('/') ? name.startsWith(`${namespace}/`) : kind !== 'Namespace' || name === namespace;
  });
