/** The user's application replaces the built-in ones: behind every variant, under the same load. */
import { lookup } from 'node:dns/promises';
import { WeftError } from '../../src/base/errors.js';
import { cpuOf, loadProgram } from '../harness/load.js';
import type { Scene } from './scene.js';
import { ports } from './variants.js';

export type Target =
  /** An application that this machine can reach. A relay in each server pod forwards to it, the same for all variants. */
  | {
      readonly kind: 'url';
      readonly ip: string;
      readonly port: number;
      readonly path: string;
      readonly shown: string;
    }
  /** Shell command that starts the application in each server pod, with PORT in its environment. */
  | { readonly kind: 'command'; readonly command: string; readonly path: string; readonly shown: string };

const refuse = (text: string, why: string): WeftError =>
  new WeftError('WEFT_BENCH_TARGET', `--target ${text}: ${why}`);

/** Throws WEFT_BENCH_TARGET if pods cannot call the URL in plaintext, or if its name has no address. */
export async function parseTarget(text: string): Promise<Target> {
  let url: URL;
  try {
    url = new URL(text);
  } catch (error) {
    throw refuse(
      text,
      `${error instanceof Error ? error.message : String(error)}; give http://HOST:PORT/PATH`,
    );
  }
  if (url.protocol !== 'http:')
    throw refuse(
      text,
      'give its http:// address: in a mesh the proxies encrypt, and a sidecar could not read requests',
    );
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const found = await lookup(host).catch((error: unknown) => {
    throw refuse(text, `${host} has no address (${String(error)})`);
  });
  return {
    kind: 'url',
    ip: found.address,
    port: Number(url.port || 80),
    path: `${url.pathname}${url.search}`,
    shown: text,
  };
}

export const commandTarget = (command: string, path: string): Target => ({
  kind: 'command',
  command,
  path,
  shown: command,
});

/** Starts the application in each server pod, on the port of the load. Throws WEFT_START with its last output if it does not listen. */
export async function startTarget(scene: Scene, target: Target): Promise<void> {
  for (const { name, netns } of scene.pods) {
    if (name === 'client') continue;
    if (target.kind === 'url') {
      const args = [String(ports.http), String(cpuOf.server), target.ip, String(target.port)];
      await scene.serve(netns, ports.http, loadProgram('relay'), args);
    } else {
      const pinned = cpuOf.server < 0 ? [] : ['taskset', '-c', String(cpuOf.server)];
      const args = [`PORT=${ports.http}`, ...pinned, '/bin/sh', '-c', target.command];
      await scene.serve(netns, ports.http, 'env', args);
    }
  }
}
