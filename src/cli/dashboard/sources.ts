/** What the page's program reads: each source by itself, so that one that cannot be read does not hide the others. */
import { edgesKeptMs } from '../../model/edge.js';
import type { MeshSnapshot, Problem } from '../../model/mesh-snapshot.js';
import { edgeHistory, type EdgeHistory } from '../../telemetry/observed/edge-history.js';
import { changesQuestion } from '../changes/command.js';
import { askMesh } from '../control-admin.js';
import { edgesQuestion } from '../edges/edges-question.js';
import type { Observation } from '../edges/observation.js';
import { noRatesText } from '../edges/with-rates.js';
import type { Unread } from '../../state/snapshot.js';
import { kindsText } from '../cluster/list.js';
import type { PlaceFlags } from '../place.js';
import { currentMesh } from '../policy/meshes.js';
import { observation, type PrometheusFlags } from '../prometheus/options.js';
import { read, unread, type Reading, type Readings } from './assemble.js';
import { Kept } from './kept.js';
import { objectsView, type ObjectsView } from './objects-view.js';
import { problemsOf } from './problems.js';
import type { ProgramsView } from './programs.js';
import { tried } from './tried.js';

export interface DashboardFlags extends PlaceFlags, PrometheusFlags {
  readonly namespace?: string;
}

/** What is read differently of a testbed and of a cluster. Errors are shown. */
export interface MeshSource {
  readonly mesh: MeshSnapshot['mesh'];
  readonly programs: () => Promise<Reading<ProgramsView>>;
  readonly problems: () => Promise<Reading<readonly Problem[]>>;
  /** Programs are asked again after this time. */
  readonly programsMs: number;
  /** Changes when objects are in force otherwise than before, though none of them changed what is served. */
  readonly mark?: () => string;
  /** How long objects and programs are not read after they were, as a multiple of how long it took. */
  readonly pausePerReading: number;
}

/** Objects of which nothing says that they changed are still read again after a while. */
const objectsMsMax = 60_000;
/** Programs report every 10 s. */
const historyMsMax = 10_000;

/** Edges and their history are read by the same right: the reason is said once. */
const historyBeside = (
  edges: Reading<unknown>,
  history: Reading<EdgeHistory> | undefined,
): Reading<EdgeHistory> =>
  history?.value === undefined && edges.value === undefined
    ? { why: [] }
    : (history ?? notYet('success over time'));

const notYet = (what: string): Reading<never> => unread(`${what}: they are still being read`);

/** Kinds of which no object could be read. Pure. */
const unreadKinds = (missing: readonly Unread[]): ReadonlySet<string> =>
  new Set(missing.flatMap(({ kind }) => (!kind || kind.within !== undefined ? [] : [kind.name])));

/** One sentence about the kinds that the account may not read, rather than one for each. Pure. */
export function unreadTexts(missing: readonly Unread[]): string[] {
  const kinds = new Map<string | undefined, { readonly names: string[]; readonly why: string }>();
  const others: string[] = [];
  for (const { text, kind } of missing) {
    const same = kinds.get(kind?.within);
    if (!kind) others.push(`objects: ${text}`);
    else if (same) same.names.push(kind.name);
    else kinds.set(kind.within, { names: [kind.name], why: kind.why });
  }
  const texts = [...kinds].map(([namespace, { names, why }]) => {
    const named = kindsText(names);
    const what =
      namespace === undefined
        ? `objects of ${named} cannot be read with this account`
        : `of ${named} only the objects of namespace ${namespace} can be read with this account`;
    return `${what}, so that workloads, policies and problems may not be complete: ${why}`;
  });
  return [...texts, ...others];
}

/** Reads the parts of the snapshot; what is expensive is kept. */
export class Sources {
  readonly #history: Kept<Reading<EdgeHistory>>;
  readonly #objects: Kept<Reading<ObjectsView>>;
  readonly #programs: Kept<Reading<ProgramsView>>;
  readonly #problems: Kept<Reading<readonly Problem[]>>;

  constructor(
    private readonly flags: DashboardFlags,
    private readonly source: MeshSource,
  ) {
    const { pausePerReading } = source;
    this.#history = new Kept(() => tried('success over time', this.#readHistory()), {
      ageMsMax: historyMsMax,
      pausePerReading,
    });
    const isFailed = ({ value }: Reading<unknown>): boolean => value === undefined;
    const rare = { ageMsMax: objectsMsMax, pausePerReading, isFailed };
    this.#objects = new Kept(() => tried('objects', this.#readObjects()), rare);
    this.#problems = new Kept(() => tried('problems', source.problems()), rare);
    this.#programs = new Kept(() => tried('programs', source.programs()), {
      ageMsMax: source.programsMs,
      pausePerReading,
      isFailed,
    });
  }

  async #readObjects(): Promise<Reading<ObjectsView>> {
    const { before, unread: missing } = await currentMesh(this.flags, this.flags.namespace);
    return read(objectsView(before, this.flags.namespace, unreadKinds(missing)), unreadTexts(missing));
  }

  /** The window of the page says since when the control plane has observed. What else is missing is a reason. */
  async #readEdges(sinceMs: number): Promise<Reading<Observation>> {
    const nowMs = Date.now();
    const found = await observation({ ...this.flags, since: nowMs - sinceMs }, nowMs);
    const gaps = found.gaps.filter((one) => !one.startsWith('observed since '));
    return read(
      found,
      [...(found.rated ? [] : [noRatesText]), ...gaps].map((one) => `edges: ${one}`),
    );
  }

  /** Of the 15 minutes that the control plane keeps, whatever the window of edges is and whoever says it. */
  async #readHistory(): Promise<Reading<EdgeHistory>> {
    const nowMs = Date.now();
    const { namespace } = this.flags;
    const query = { namespace, sinceMs: nowMs - edgesKeptMs, isBySlot: true };
    const answer = await askMesh(this.flags, edgesQuestion(query));
    if (answer.isBySlot !== true)
      return unread('success over time: a replica of the control plane is of a version that does not say it');
    return read(
      edgeHistory(answer, nowMs),
      answer.missing.map((name) => `edges: no answer from ${name}: what was reported to it is missing`),
    );
  }

  /**
   * @param sinceMs milliseconds since the epoch: the beginning of the window of edges
   * @param waitMs how long what was not read yet is waited for; undefined: until it is read
   */
  async read(sinceMs: number, waitMs?: number): Promise<Readings> {
    const { flags } = this;
    const { namespace } = flags;
    const [edges, history, changes] = await Promise.all([
      tried('edges', this.#readEdges(sinceMs)),
      this.#history.get(undefined, waitMs),
      tried(
        'changes',
        askMesh(flags, changesQuestion(0, namespace)).then((answer) => read(answer)),
      ),
    ]);
    // The control plane has read what it says has changed: what was read before is old.
    const newestMs = Math.max(0, ...(changes.value?.changes ?? []).map(({ timeMs }) => timeMs));
    const mark = `${changes.value ? newestMs : ''} ${this.source.mark?.() ?? ''}`;
    const [programs, objects, problems = notYet('problems')] = await Promise.all([
      this.#programs.get(undefined, waitMs),
      this.#objects.get(mark, waitMs),
      this.#problems.get(mark, waitMs),
    ]);
    return {
      mesh: this.source.mesh,
      edges,
      history: historyBeside(edges, history),
      changes,
      objects: objects ?? notYet('workloads and policies'),
      programs: programs ?? notYet('programs'),
      problems: { ...problems, ...(problems.value ? { value: problemsOf(problems.value, namespace) } : {}) },
    };
  }
}
