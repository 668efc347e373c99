/** Findings about nodes: the kernel must be new enough. Pure. */
import type { Finding } from '../../findings/finding.js';

const kernelFloor: readonly [number, number] = [6, 1];

export interface NodeItem {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly nodeInfo?: {
      readonly operatingSystem?: string;
      readonly kernelVersion?: string;
      readonly architecture?: string;
    };
  };
}
/** Major and minor number of a version. */
export const versionOf = (text: string): readonly [number, number] => {
  const [major = 0, minor = 0] = text.split('.').map((part) => Number.parseInt(part, 10));
  return [major, minor];
};
export const below = (a: readonly [number, number], b: readonly [number, number]): boolean =>
  a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);

/** Pure. */
export function nodeFindings(nodes: readonly NodeItem[]): Finding[] {
  const findings: Finding[] = [];
  const good: string[] = [];
  for (const { metadata, status } of nodes) {
    const { operatingSystem = 'linux', kernelVersion = '0' } = status?.nodeInfo ?? {};
    if (operatingSystem !== 'linux') {
      findings.push({ level: 'ok', what: `node ${metadata.name} runs ${operatingSystem}: it gets no agent` });
    } else if (below(versionOf(kernelVersion), kernelFloor)) {
      findings.push({
        level: 'fail',
        what: `node ${metadata.name} has kernel ${kernelVersion}`,
        help: `Linux ${kernelFloor.join('.')} or later is needed: upgrade the node, or exclude it with agent.nodeSelector (its pods then stay outside of the mesh)`,
      });
    } else good.push(`${metadata.name} (${kernelVersion})`);
  }
  if (good.length > 0) findings.unshift({ level: 'ok', what: `kernels: ${good.join(', ')}` });
  return findings;
}
