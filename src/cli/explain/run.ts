/** Runs `weft explain`. */
import { errorText, WeftError } from '../../base/errors.js';
import { loadKubeConfig } from '../../kubernetes/config.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import { isOfCluster, stateOf, type PlaceFlags } from '../place.js';
import { printable } from '../printable.js';
import { certificatesOf } from './certificates.js';
import { clusterCertificatesOf } from './cluster-certificates.js';
import { clusterPast } from './cluster-past.js';
import { askControl } from './control.js';
import { explain, type Question } from './explain.js';
import { readMesh } from './explained-mesh.js';
import { hiddenExplanation } from './hidden.js';
import { withoutWhatThereIs } from './parties.js';
import { ExplainMesh, asInCluster } from './mesh.js';
import { loggedRequestOf, logsOf, pastLines, pastText, questionOf } from './past.js';
import { httpOf, sentOf, type RequestFlags } from './request.js';
import type { Explanation, Outcome } from './result.js';
import { explanationLines, shortText } from './text.js';

export interface Flags extends PlaceFlags, RequestFlags {
  readonly file?: readonly string[];
  readonly identity?: string;
  readonly whatIf?: readonly string[];
  readonly log?: readonly string[];
  readonly certificates?: boolean;
  readonly json?: boolean;
}

/** Documented in docs/explain.md. 1 is left to failures that nobody expects. */
const exitCodes: Readonly<Record<Outcome, number>> = {
  allowed: 0,
  refused: 3,
  depends: 4,
  unknown: 4,
};

interface Answer extends Explanation {
  readonly assumed: readonly string[];
}

/** @param unread what could not be read: it may decide, so that nothing is certain */
async function answer(
  snapshot: MeshSnapshot,
  question: Question,
  unread: readonly string[],
): Promise<Answer> {
  const mesh = asInCluster(snapshot);
  const found = await explain(new ExplainMesh(mesh.snapshot), question);
  const { ways, notes } = found;
  const assumed = mesh.assumed.filter((name) => ways.some(({ waypoint }) => waypoint?.name === name));
  const { service } = found.destination;
  const isAddressAssumed =
    service !== undefined && snapshot.withoutAddress.some((key) => key.endsWith(`/${service}`));
  return {
    ...found,
    outcome: unread.length > 0 ? 'unknown' : found.outcome,
    notes: [
      ...unread.map((one) => `not known, because it could not be read: ${one}`),
      ...notes,
      ...(isAddressAssumed
        ? ['the Service states no address: it was evaluated as if a cluster had given it one']
        : []),
      ...assumed.map((name) => `no pod of waypoint ${name} is known: it was evaluated as if one were ready`),
    ],
    assumed,
  };
}

const json = ({ assumed: _assumed, ...explanation }: Answer): Explanation => explanation;

/** With `--identity` the only argument is the destination. */
function partiesOf(
  first: string,
  second: string | undefined,
  identity: string | undefined,
): Pick<Question, 'source' | 'destination' | 'identity'> | undefined {
  if (identity !== undefined) {
    if (second !== undefined)
      throw new WeftError(
        'WEFT_EXPLAIN_INPUT',
        '--identity takes the place of SOURCE: say the DESTINATION alone',
      );
    return { destination: first, identity };
  }
  return second === undefined ? undefined : { source: first, destination: second };
}

/** With an id or an address as the only argument: what happened to it. */
export async function run(first: string, second: string | undefined, flags: Flags): Promise<void> {
  const parties = partiesOf(first, second, flags.identity);
  if (!parties) return runPast(first, flags);
  const asked = await ask({ ...parties, request: sentOf(flags) }, flags);
  const { now, then, warnings } = asked;
  if (flags.json === true) console.log(JSON.stringify(then ? jsonOf(asked) : json(now)));
  else {
    if (then) for (const line of [...shortLines(asked), '']) console.log(printable(line));
    for (const line of explanationLines(then ?? now, Date.now())) console.log(printable(line));
    for (const warning of warnings) console.error(printable(`not in force as written: ${warning}`));
  }
  process.exitCode = exitCodes[(then ?? now).outcome];
}

interface Asked {
  readonly now: Answer;
  /** With the manifests of `--what-if`. */
  readonly then: Answer | undefined;
  readonly warnings: readonly string[];
  /** Whether all objects could be read. */
  readonly isWhole?: boolean;
}

const isInputError = (error: unknown): error is WeftError =>
  error instanceof WeftError && error.code === 'WEFT_EXPLAIN_INPUT';

/** What happens now, and with the manifests of `--what-if`. */
async function ask(question: Question, flags: Flags): Promise<Asked> {
  const { file, whatIf = [] } = flags;
  if (file || whatIf.length > 0) return askObjects(question, flags);
  const { explained, why } = await askControl(question, flags);
  if (explained && explained.hidden.length === 0) {
    const { snapshot, problems } = readMesh(explained);
    try {
      return {
        now: await withCertificates(await answer(snapshot, question, problems), flags),
        then: undefined,
        warnings: [],
      };
    } catch (error) {
      if (!isInputError(error)) throw error;
      // What there is instead is known by all objects alone.
      try {
        return await askObjects(question, flags);
      } catch (other) {
        if (isInputError(other)) throw other;
        throw new WeftError(error.code, withoutWhatThereIs(error.message));
      }
    }
  }
  const hidden = explained && { ...hiddenExplanation(question, explained), assumed: [] };
  let asked: Asked;
  try {
    asked = await askObjects(question, flags);
  } catch (error) {
    if (!hidden) throw error;
    return { now: hidden, then: undefined, warnings: [] };
  }
  if (asked.isWhole) return asked;
  if (hidden) return { ...asked, now: hidden };
  return {
    ...asked,
    now: { ...asked.now, notes: [...asked.now.notes, `all objects were read, because ${why ?? ''}`] },
  };
}

/** Those of a testbed are read at once, those of a cluster by port-forwards, which take longer than all the rest. */
async function withCertificates(known: Answer, flags: Flags): Promise<Answer> {
  if (!isOfCluster(flags)) return { ...known, certificates: await certificatesOf(stateOf(flags), known) };
  if (flags.certificates !== true) return known;
  const config = await loadKubeConfig();
  return { ...known, certificates: await clusterCertificatesOf(config, flags.rootNamespace, known) };
}

/** The same, by reading and compiling all objects. */
async function askObjects(question: Question, flags: Flags): Promise<Asked> {
  const { file, whatIf = [] } = flags;
  const { policyMeshes } = await import('../policy/meshes.js');
  const meshes = policyMeshes({ ...flags, ...(file ? { current: file } : {}) }, whatIf, '--file');
  const { errors, warnings, unread, before, after } = meshes;
  if (errors.length > 0) throw new WeftError('WEFT_EXPLAIN_INPUT', errors.join('\n'));
  const gaps = unread.map(({ text }) => text);
  const known = await answer(before, question, gaps);
  const now = file ? known : await withCertificates(known, flags);
  const then = whatIf.length > 0 ? await answer(after, question, gaps) : undefined;
  return { now, then, warnings, isWhole: unread.length === 0 };
}

/** A connection that happened, and what would happen to it now. */
async function runPast(id: string, flags: Flags): Promise<void> {
  const { log, json: isJson } = flags;
  const state = stateOf(flags);
  const isCluster = !log && isOfCluster(flags);
  const { lines, problems } = isCluster
    ? await clusterPast(await loadKubeConfig(), flags.rootNamespace, id)
    : { lines: await pastLines(log ?? logsOf(state), id, state), problems: [] };
  for (const problem of problems) console.error(printable(`not read: ${problem}`));
  if (lines.length === 0) {
    const where = log
      ? log.join(', ')
      : isCluster
        ? 'the newest lines of the logs of agents and waypoints'
        : `the logs below ${state}`;
    throw new WeftError(
      'WEFT_EXPLAIN_INPUT',
      `no line of ${where} is about ${id}: say SOURCE and DESTINATION, the id of a connection or request, or the address and port of its client`,
    );
  }
  const question = questionOf(lines);
  const stated = sentOf(flags);
  const logged = httpOf(stated)?.isStated === false ? loggedRequestOf(lines) : undefined;
  let asked: Asked | undefined;
  let unasked = '';
  try {
    asked = question && (await ask({ ...question, request: logged ?? stated }, flags));
  } catch (error) {
    // A pod that is gone, for example. What happened is known all the same.
    if (!isInputError(error)) throw error;
    unasked = errorText(error);
  }
  if (isJson === true) console.log(JSON.stringify({ past: lines, ...(asked ? jsonOf(asked) : {}) }));
  else {
    for (const line of pastText(lines)) console.log(printable(line));
    if (asked) for (const line of shortLines(asked, textWithRequest)) console.log(printable(line));
    if (unasked !== '') console.log(printable(`now: not known: ${unasked}`));
    const current = asked && (asked.then ?? asked.now);
    for (const note of current?.notes ?? []) console.log(printable(`Note: ${note}`));
    if (logged && current?.request)
      console.log('Note: the logged request was evaluated without its headers: --header says them');
  }
  // Without a question the lines are all that was asked for. What could not be asked is not known, which CI must not read as allowed.
  process.exitCode = asked
    ? exitCodes[(asked.then ?? asked.now).outcome]
    : unasked === ''
      ? 0
      : exitCodes.unknown;
}

const jsonOf = ({ now, then }: Asked): object => ({
  now: json(now),
  ...(then ? { whatIf: json(then) } : {}),
});

const textWithRequest = (one: Answer): string =>
  `${one.request ? `${one.request.method} ${one.request.path} ` : ''}${shortText(one)}`;

function* shortLines({ now, then }: Asked, text: (one: Answer) => string = shortText): Generator<string> {
  if (!then) return yield `now: ${text(now)}`;
  yield `now:       ${text(now)}`;
  yield `with them: ${text(then)}`;
}
