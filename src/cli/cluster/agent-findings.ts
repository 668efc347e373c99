/** Findings about agents, from their own reports. Pure. */
import type { Finding } from '../../findings/finding.js';
import { relayProblem } from '../relay-text.js';
import type { Agent } from './agents.js';
import type { NodeItem } from './node-findings.js';

const skewMsMax = 10_000;

/** `nowMs`: time to compare the clocks of the agents with. */
export function agentFindings(
  agents: readonly Agent[],
  nodes: readonly NodeItem[],
  nowMs: number,
): Finding[] {
  const findings: Finding[] = [];
  for (const { metadata, status } of nodes) {
    if ((status?.nodeInfo?.operatingSystem ?? 'linux') !== 'linux') continue;
    if (agents.some(({ node }) => node === metadata.name)) continue;
    findings.push({
      level: 'fail',
      what: `node ${metadata.name} has no agent`,
      help: 'its enrolled pods are closed: check agent.nodeSelector and agent.tolerations, and events of the DaemonSet weft-agent',
    });
  }
  for (const { node, pod, status, why, help, isPodUnready } of agents) {
    if (!status) {
      findings.push({
        level: 'fail',
        what: `the agent of ${node} does not respond: ${why ?? ''}`,
        help: help ?? `see the log of ${pod}`,
      });
      continue;
    }
    const { control, waiting, missing, cni, certificates, timeMs, ready } = status;
    if (ready && isPodUnready)
      findings.push({
        level: 'fail',
        what: `node ${node}: the agent reports itself as ready, but the kubelet reports its pod as not ready`,
        help: `an upgrade waits for it: the events of ${pod} show the error of the probe (kubectl describe pod)`,
      });
    else if (ready)
      findings.push({ level: 'ok', what: `node ${node}: ready, ${status.pods.length} pods in the mesh` });
    if (control.state !== 'connected')
      findings.push({
        level: 'fail',
        what: `the agent of ${node} does not reach the control plane: ${control.why}`,
        help: 'its last configuration stays in force: check the Deployment weft-control',
      });
    for (const [uid, reason] of Object.entries(waiting))
      findings.push({
        level: 'fail',
        what: `${uid} on ${node} is not in the mesh yet: ${reason}`,
        help: `the agent retries every second: see the log of ${pod}`,
      });
    for (const [feature, reason] of Object.entries(missing))
      findings.push({
        level: 'warn',
        what: `the kernel of ${node} lacks ${feature}: ${reason}`,
        help: 'connections that need it go through the agent',
      });
    for (const { type, why: what } of status.undecodable ?? [])
      findings.push({
        level: 'fail',
        what: `the agent of ${node} cannot decode a resource (${type}): ${what}`,
        help: 'the traffic that it affects is refused: upgrade the agent, or remove the new feature from the object',
      });
    const problem = status.relay && relayProblem(status.relay);
    if (problem !== undefined)
      findings.push({
        level: 'fail',
        what: `node ${node} relays no connection to other nodes: ${problem}`,
        help: 'such connections are refused until a carrier runs: check the DaemonSet weft-carrier',
      });
    if (cni !== 'in its place')
      findings.push({
        level: 'warn',
        what: `CNI plugin on ${node}: ${cni}`,
        help: 'new pods are in the mesh only once the agent has found them, about a second after their start: see cni.binDir and cni.confDir',
      });
    for (const { id, error } of certificates)
      if (error !== undefined)
        findings.push({
          level: 'fail',
          what: `no certificate for ${id} on ${node}: ${error}`,
          help: 'see the log of weft-control',
        });
    const skewMs = Math.abs(timeMs - nowMs);
    if (skewMs > skewMsMax)
      findings.push({
        level: 'warn',
        what: `the clock of ${node} is ${Math.round(skewMs / 1000)} s off this one`,
        help: 'certificates are valid for a period of time: run a time service on every node',
      });
  }
  return findings;
}
