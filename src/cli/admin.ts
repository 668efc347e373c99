/** Client of the admin endpoints of an agent, in this network namespace or in another one. */
import { WeftError, errorText } from '../base/errors.js';
import { run } from './run.js';

export const adminPort = 15000;

const answerMsMax = 5_000;

/** Returns the body for any status. Throws WEFT_ADMIN if no agent responds. `netns`: a name below /run/netns. */
export async function adminGet(netns: string | undefined, port: number, path: string): Promise<string> {
  const url = `http://127.0.0.1:${port}${path}`;
  let why: string;
  if (netns === undefined) {
    try {
      return await (await fetch(url, { signal: AbortSignal.timeout(answerMsMax) })).text();
    } catch (error) {
      why = errorText(error instanceof Error && error.cause !== undefined ? error.cause : error);
    }
  } else {
    const args = ['-sS', '--noproxy', '*', '-m', String(answerMsMax / 1000), url];
    const { code, stdout, stderr } = await run(netns, 'curl', args);
    if (code === 0) return stdout;
    why = stderr.trim();
  }
  throw new WeftError(
    'WEFT_ADMIN',
    `no agent answers on ${url}${netns === undefined ? '' : ` in ${netns}`} (${why}): check that the agent runs, and that this is its node`,
    { retryable: true },
  );
}
