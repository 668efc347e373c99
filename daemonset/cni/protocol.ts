/** Messages between the CNI plugin (native/cni/weft-cni.c) and the agent: one line of JSON each way. */
import { isIp, parseIp, type IpAddress } from '../../src/model/address.js';

export const requestBytesMax = 64 << 10;

export interface AddRequest {
  readonly namespace: string;
  readonly name: string;
  readonly podUid: string;
  /** Path of the descriptor by which the plugin holds the pod's network namespace open. */
  readonly netns: string;
  readonly addresses: readonly IpAddress[];
}
export type Reply = { readonly ok: true } | { readonly ok: false; readonly message: string };

/** Undefined if the line is not a request of the plugin. */
export function decodeRequest(line: string): AddRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { command, namespace, name, podUid, pid, fd, addresses } = value as Record<string, unknown>;
  if (command !== 'ADD' || typeof namespace !== 'string' || typeof name !== 'string') return undefined;
  if (typeof podUid !== 'string' || !Array.isArray(addresses)) return undefined;
  if (!Number.isInteger(pid) || !Number.isInteger(fd) || (pid as number) <= 0 || (fd as number) < 0)
    return undefined;
  const ips = addresses.filter((ip): ip is string => typeof ip === 'string' && isIp(ip)).map(parseIp);
  return { namespace, name, podUid, netns: `/proc/${String(pid)}/fd/${String(fd)}`, addresses: ips };
}
