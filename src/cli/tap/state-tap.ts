/** A tap by the socket in the control plane's state directory: who may read that directory may read the tap. */
import http, { type IncomingMessage } from 'node:http';
import { errorText } from '../../base/errors.js';
import { tapParameters, type TapLine, type TapQuery } from '../../model/tap.js';
import { controlSocketOf } from '../control-admin.js';
import { noTap, silenceMsMax, tapLines } from './tap-lines.js';

const errorCharsMax = 4_096;

async function open(socketPath: string, path: string, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const call = http.get({ socketPath, path, timeout: silenceMsMax, agent: false, signal }, (response) => {
      if (response.statusCode === 200) return resolve(response);
      let text = '';
      response
        .setEncoding('utf8')
        .on('data', (part: string) => (text = (text + part).slice(0, errorCharsMax)));
      response.on('end', () => {
        const { statusCode } = response;
        // The control plane says what to do about a request that it refuses.
        const said = text.trim().replace(/^WEFT_ADMIN: /, '');
        reject(noTap(statusCode !== undefined && statusCode < 500 ? said : `status ${statusCode}: ${said}`));
      });
      response.on('error', (error) => reject(noTap(errorText(error))));
    });
    call.on('timeout', () => call.destroy(new Error('it does not respond')));
    call.on('error', (error) => reject(noTap(errorText(error))));
  });
}

/** Errors: WEFT_ADMIN. @param state of the control plane, or of a testbed */
export async function* stateTap(
  state: string,
  query: TapQuery,
  signal: AbortSignal,
): AsyncGenerator<TapLine> {
  const socket = controlSocketOf(state, 'say what happens');
  const parameters = tapParameters(query);
  const { namespace } = query.filter;
  if (namespace !== undefined) parameters.set('namespace', namespace);
  if (signal.aborted) return;
  let response: IncomingMessage;
  try {
    response = await open(socket, `/taps?${parameters}`, signal);
  } catch (error) {
    if (signal.aborted) return;
    throw error;
  }
  yield* tapLines(response, signal);
}
