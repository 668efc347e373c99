/** An explanation for a terminal: the outcome and its reason first. Pure. */
import { table } from '../cluster/table.js';
import { certificateText } from './certificates.js';
import type { Explanation, Outcome, Party, PolicyCheck, Way } from './result.js';

const words: Readonly<Record<Outcome, string>> = {
  allowed: 'ALLOWED',
  refused: 'REFUSED',
  depends: 'DEPENDS on the pod',
  unknown: 'UNKNOWN',
};

const pathTexts: Readonly<Record<Way['path'], string>> = {
  kernel: 'kernel: connected by the kernel alone',
  local: "local: joined by the node's agent",
  hbone: 'hbone: through a tunnel with mutual TLS',
  waypoint: 'waypoint: through tunnels with mutual TLS, and a waypoint that reads the requests',
  plain: 'plain: not encrypted',
  refused: 'refused',
};

const relayedText = 'waypoint: through tunnels with mutual TLS, and a waypoint that relays bytes';

const nodesShown = 3;
const endpointsShown = 10;
const nodesText = (nodes: string): string => {
  const all = nodes.split(', ');
  return all.length > nodesShown ? `${all.length} nodes` : nodes;
};

const partyText = ({ name, identity, node, inMesh }: Party): string =>
  [
    name === identity ? '' : name,
    inMesh ? (identity ?? '') : 'not in the mesh',
    node === undefined ? '' : `on ${nodesText(node)}`,
  ]
    .filter((one) => one !== '')
    .join('  ');

const requestText = ({ request }: Explanation): string =>
  request ? `  ${request.method} ${request.host}${request.path}` : '';

function* field(name: string, values: readonly (string | undefined)[]): Generator<readonly [string, string]> {
  let shown = name;
  for (const value of values) {
    if (value === undefined || value === '') continue;
    yield [shown, value];
    shown = '';
  }
}

function* wayFields(way: Way): Generator<readonly [string, string]> {
  const isRelayed = way.path === 'waypoint' && way.waypoint?.readsRequest === false;
  yield* field('path', [way.path === 'refused' ? undefined : isRelayed ? relayedText : pathTexts[way.path]]);
  yield* field('because', [way.pathWhy]);
  if (way.path !== 'kernel' && way.path !== 'refused' && way.notKernel !== way.pathWhy)
    yield* field('not kernel', [way.notKernel]);
  const { waypoint } = way;
  if (!waypoint) return;
  yield* field('waypoint', [waypoint.name]);
  yield* field('route', [waypoint.route]);
  yield* field('backends', waypoint.backends);
  yield* field('filters', waypoint.filters);
  yield* field(
    'settings',
    waypoint.settings.map(({ setting, object }) => `${setting} (${object})`),
  );
  yield* field('client sees', [waypoint.status === undefined ? undefined : `status ${waypoint.status}`]);
}

const deciderOf = ({ decidedBy, code }: Way): string =>
  [decidedBy === 'nobody' ? '' : `decided by ${decidedBy}`, code ?? '']
    .filter((one) => one !== '')
    .join(', ');

/** The lines of one explanation. */
export function* explanationLines(one: Explanation, nowMs: number): Generator<string> {
  const [first] = one.ways;
  const { source, destination } = one;
  yield `${words[one.outcome]}  ${source.name} -> ${destination.name}:${destination.port}${requestText(one)}`;
  if (first) {
    const decider = deciderOf(first);
    const why = `${first.why}${decider === '' ? '' : ` (${decider})`}`;
    yield one.outcome === 'unknown' && first.outcome !== 'unknown'
      ? `  not everything is known, as the notes say; by what is known: ${first.outcome}, ${why}`
      : `  ${why}`;
  }
  // The caller may not read what decides: only what lies at one end is known.
  const isHidden = !first && one.outcome === 'unknown';
  if (isHidden) yield* one.notes.map((note) => `  ${note}`);
  const isKnown = ({ addresses }: Party): boolean => !isHidden || addresses.length > 0;
  if (![source, destination].some(isKnown)) return;
  yield '';
  yield* table([
    ...(isKnown(source) ? field('from', [partyText(source)]) : []),
    ...(isKnown(destination) ? field('to', [partyText(destination)]) : []),
    ...(first ? wayFields(first) : []),
    ...field(
      'certificates',
      (one.certificates ?? []).map((each) => certificateText(each, nowMs)),
    ),
  ]).map((line) => `  ${line}`);
  if (one.ways.length > 1) {
    yield '';
    yield 'Not all pods are treated alike. The ways, by pod:';
    yield* table([
      ['  OUTCOME', 'PATH', 'COUNT', 'FROM', 'TO', 'WHY'],
      ...one.ways.map((way) => [`  ${way.outcome}`, way.path, String(way.count), way.from, way.to, way.why]),
    ]);
  }
  if (!isHidden) yield* policyLines(one.ways);
  if (one.endpoints.length > 0) {
    yield '';
    yield 'Endpoints of the Service:';
    yield* table([
      ['  ENDPOINT', 'ADDRESS', 'NODE', 'ELIGIBLE'],
      ...one.endpoints
        .slice(0, endpointsShown)
        .map(({ name, address, node, eligible, why }) => [
          `  ${name}`,
          address,
          node,
          eligible ? 'yes' : `no: ${why}`,
        ]),
    ]);
    const more = one.endpoints.length - endpointsShown;
    if (more > 0) yield `  and ${more} more (--json lists up to 50)`;
  }
  if (one.notes.length > 0 && !isHidden) {
    yield '';
    for (const note of one.notes) yield `Note: ${note}`;
  }
}

function* policyLines(ways: readonly Way[]): Generator<string> {
  const found = new Map<string, PolicyCheck>();
  for (const check of ways.flatMap(({ policies }) => policies)) {
    const key = `${check.policy} ${check.at} ${check.result} ${check.rule ?? ''}`;
    const before = found.get(key);
    if (!before || check.decides) found.set(key, check);
  }
  const checks = [...found.values()].sort((a, b) => Number(b.decides) - Number(a.decides));
  yield '';
  if (checks.length === 0) {
    yield 'No policy applies.';
    return;
  }
  yield 'Policies that apply (the deciding one has a star):';
  yield* table([
    ['', 'POLICY', 'ACTION', 'RESULT', 'RULE', 'EVALUATED BY'],
    ...checks.map(({ policy, action, result, rule, at, decides }) => [
      decides ? '*' : '',
      policy,
      action.toUpperCase(),
      result,
      rule === undefined ? '' : String(rule),
      at,
    ]),
  ]);
}

/** `ALLOWED by node node-b: no policy forbids it`: one line. */
export const shortText = ({ outcome, ways: [first] }: Explanation): string =>
  `${words[outcome]}${first ? `: ${first.why}` : ''}`;
