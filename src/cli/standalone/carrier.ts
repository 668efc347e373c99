/** The carrier of a testbed node: its place, and its environment. */
import { join } from 'node:path';
import { runDirOf } from './agent.js';

export const carrierProcess = (node: string): string => `carrier-${node}`;

/** Where the agent of a node looks for carriers. */
export const carrierDirOf = (state: string, node: string): string => join(runDirOf(state, node), 'carrier');

/** Variables of this process that a carrier may see. It needs no other, and relays bytes of strangers. */
const passed = ['PATH', 'LANG', 'ASAN_OPTIONS', 'LSAN_OPTIONS', 'TSAN_OPTIONS', 'UBSAN_OPTIONS'];

export function carrierEnvironment(from: NodeJS.ProcessEnv = process.env): Record<string, string> {
  return Object.fromEntries(passed.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]])));
}
