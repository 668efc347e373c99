/** `weft explain`: which path a connection takes, who decides, and why. */
import { Command } from 'commander';
import { WeftError } from '../../base/errors.js';
import type { MeshSnapshot } from '../../state/snapshot.js';
import { badInput, badUsage } from '../policy/bad-input.js';
import { policyMeshes } from '../policy/meshes.js';
import { isOfCluster, placeOptions, stateOf, type PlaceFlags } from '../place.js';
import { printable } from '../printable.js';
import { certificatesOf } from './certificates.js';
import { explain, type Question } from './explain.js';
import { ExplainMesh, asInCluster } from './mesh.js';
import { loggedRequestOf, logsOf, pastLines, pastText, questionOf } from './past.js';
import { httpOf, sentOf, type RequestFlags } from './request.js';
import type { Explanation, Outcome } from './result.js';
import { explanationLines, shortText } from './text.js';

interface Flags extends PlaceFlags, RequestFlags {
  readonly file?: readonly string[];
  readonly identity?: string;
  readonly whatIf?: readonly string[];
  readonly log?: readonly string[];
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

async function run(first: string, second: string | undefined, flags: Flags): Promise<void> {
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
}

async function ask(question: Question, flags: Flags): Promise<Asked> {
  const { file, whatIf = [] } = flags;
  const meshes = policyMeshes({ ...flags, ...(file ? { current: file } : {}) }, whatIf, '--file');
  const { errors, warnings, unread, before, after } = meshes;
  if (errors.length > 0) throw new WeftError('WEFT_EXPLAIN_INPUT', errors.join('\n'));
  const known = await answer(before, question, unread);
  const isTestbed = !file && !isOfCluster(flags);
  const now = isTestbed ? { ...known, certificates: await certificatesOf(stateOf(flags), known) } : known;
  const then = whatIf.length > 0 ? await answer(after, question, unread) : undefined;
  return { now, then, warnings };
}

/** A connection that happened, and what would happen to it now. */
async function runPast(id: string, flags: Flags): Promise<void> {
  const { log, json: isJson } = flags;
  if (!log && isOfCluster(flags))
    throw new WeftError(
      'WEFT_EXPLAIN_INPUT',
      `say SOURCE and DESTINATION; or, for the connection ${id}, where the logs are: kubectl -n weft-system logs -l app=weft-agent --tail=-1 | weft explain ${id} --log -`,
    );
  const state = stateOf(flags);
  const lines = await pastLines(log ?? logsOf(state), id, state);
  if (lines.length === 0)
    throw new WeftError(
      'WEFT_EXPLAIN_INPUT',
      `no line of ${log ? log.join(', ') : `the logs below ${state}`} is about ${id}: say SOURCE and DESTINATION, the id of a connection, or the address and port of its client`,
    );
  const question = questionOf(lines);
  const stated = sentOf(flags);
  const logged = httpOf(stated)?.isStated === false ? loggedRequestOf(lines) : undefined;
  const asked = question && (await ask({ ...question, request: logged ?? stated }, flags));
  if (isJson === true) console.log(JSON.stringify({ past: lines, ...(asked ? jsonOf(asked) : {}) }));
  else {
    for (const line of pastText(lines)) console.log(printable(line));
    if (asked) for (const line of shortLines(asked, textWithRequest)) console.log(printable(line));
    const current = asked && (asked.then ?? asked.now);
    for (const note of current?.notes ?? []) console.log(printable(`Note: ${note}`));
    if (logged && current?.request)
      console.log('Note: the logged request was evaluated without its headers: --header says them');
  }
  process.exitCode = asked ? exitCodes[(asked.then ?? asked.now).outcome] : 0;
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

export function explainCommand(): Command {
  const command = new Command('explain')
    .description('say which path a connection takes now, who decides, and why')
    .usage('SOURCE DESTINATION[:PORT] [options], or weft explain ID [options]')
    .argument(
      '<source>',
      'NAMESPACE/POD, NAMESPACE/DEPLOYMENT, or an address; left out with --identity. Alone: the id of a connection in a log, or ADDRESS:PORT of its client',
    )
    .argument(
      '[destination]',
      'NAMESPACE/SERVICE, a host name, NAMESPACE/POD, or an address; with the port if there are several',
    )
    .option('--identity <spiffe>', 'a client with this identity, in place of SOURCE')
    .option('--method <method>', 'of the request, for waypoints (default: GET)')
    .option('--path <path>', 'of the request (default: /)')
    .option('--host <host>', "of the request (default: the Service's host name)")
    .option(
      '--header <header>',
      "a header of the request: 'name: value'; may be repeated",
      (one: string, all: readonly string[] = []) => [...all, one],
    )
    .option('--tcp', 'a connection that is not HTTP')
    .option('--sni <name>', 'a TLS connection with this server name')
    .option(
      '-f, --file <paths...>',
      'manifests of the mesh: files, or directories (default: those of the testbed, or the cluster)',
    )
    .option('--what-if <paths...>', 'the same with these manifests applied: files, or directories');
  return badUsage(placeOptions(command))
    .option(
      '--log <files...>',
      'logs with the connection; - is standard input (default: those of the testbed)',
    )
    .option('--json', 'print the explanation as JSON (docs/explain.schema.json)')
    .addHelpText(
      'after',
      `
Exit codes: 0 allowed, 3 refused, 4 not known or not for all pods, 2 the input cannot be read.
With --what-if it is that of the changed mesh.

Examples:
  weft explain shop/web shop/api
  weft explain shop/web shop/api:80 --method DELETE --path /orders/7
  weft explain shop/web shop/api:443 --sni shop.example
  weft explain --identity spiffe://cluster.local/ns/shop/sa/web api.shop.svc.cluster.local
  weft explain shop/web shop/api --what-if new-policy.yaml`,
    )
    .action(badInput(run));
}
