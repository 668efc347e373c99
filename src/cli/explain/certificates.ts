/** The certificates that the agents of a testbed hold for both sides of a connection. */
import { errorText } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { adminGet, adminPort } from '../admin.js';
import { readLedger } from '../standalone/ledger.js';
import type { CertificateView, Explanation } from './result.js';

const nodesMax = 4;

interface Wanted {
  readonly node: string;
  readonly identity: string;
}

/** Nodes and identities of the parties that have one. */
function wantedOf({ source, destination }: Explanation): readonly Wanted[] {
  return [source, destination].flatMap(({ node, identity }) => {
    // Several identities, or nodes: which pod has which is not known here.
    if (node === undefined || identity === undefined || identity.includes(', ')) return [];
    return node.split(', ').map((one) => ({ node: one, identity }));
  });
}

/** Reads an agent's answer. Pure. */
export function certificateOf(body: string, { node, identity }: Wanted): CertificateView {
  const list: unknown = JSON.parse(body);
  const found: unknown = Array.isArray(list)
    ? list.find((one) => isRecord(one) && one['id'] === identity)
    : undefined;
  if (!isRecord(found)) return { node, identity, problem: 'the agent has not requested one' };
  const { serial, notAfter, error } = found;
  return {
    node,
    identity,
    ...(typeof serial === 'string' ? { serial } : {}),
    ...(typeof notAfter === 'string' ? { notAfter } : {}),
    ...(typeof error === 'string' ? { problem: error } : {}),
  };
}

/** Reads `/certificates` of the agent of a node. Undefined: the node has none. */
type Agents = (node: string) => (() => Promise<string>) | undefined;

/** Certificates of both sides. */
export async function certificatesFrom(
  agents: Agents,
  explanation: Explanation,
): Promise<readonly CertificateView[]> {
  const answers = new Map<string, Promise<string>>();
  const found = wantedOf(explanation).map(async (wanted): Promise<readonly CertificateView[]> => {
    const read = agents(wanted.node);
    if (!read) return [];
    let answer = answers.get(wanted.node);
    if (!answer) {
      if (answers.size >= nodesMax) return [];
      answers.set(wanted.node, (answer = read()));
    }
    try {
      return [certificateOf(await answer, wanted)];
    } catch (error) {
      return [{ ...wanted, problem: errorText(error) }];
    }
  });
  return (await Promise.all(found)).flat();
}

/** Those of a testbed; empty if there is none at `state`. */
export function certificatesOf(state: string, explanation: Explanation): Promise<readonly CertificateView[]> {
  const nodes = new Map(readLedger(state)?.nodes.map(({ name, netns }) => [name, netns]));
  return certificatesFrom((node) => {
    const netns = nodes.get(node);
    return netns === undefined ? undefined : () => adminGet(netns, adminPort, '/certificates');
  }, explanation);
}

const unitsMs = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const;

/** `valid for 23 h, until 2026-01-02T03:04:05.000Z`. Pure. */
export function certificateText(
  { identity, node, notAfter, problem }: CertificateView,
  nowMs: number,
): string {
  const leftMs = notAfter === undefined ? undefined : Date.parse(notAfter) - nowMs;
  const [unit, ms] = unitsMs.find(([, one]) => Math.abs(leftMs ?? 0) >= one) ?? ['s', 1_000];
  const valid =
    leftMs === undefined
      ? 'no certificate'
      : leftMs <= 0
        ? `EXPIRED at ${notAfter}`
        : `valid for ${Math.floor(leftMs / ms)} ${unit}, until ${notAfter}`;
  return `${identity} on ${node}: ${valid}${problem === undefined ? '' : ` (${problem})`}`;
}
