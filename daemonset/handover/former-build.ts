/** Detects agents of builds without hand-over. They hold no lock, so their admin port on loopback is probed. */
import http from 'node:http';

/** Time limit for the response. */
const responseMsMax = 2_000;

/** `unknown`: something listens there and does not respond. */
export type Presence = 'present' | 'absent' | 'unknown';

/** Whether an agent responds at 127.0.0.1:`port`. */
export function agentAt(port: number): Promise<Presence> {
  return new Promise((resolve) => {
    const request = http.get(
      { host: '127.0.0.1', port, path: '/status', agent: false, timeout: responseMsMax },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (text += part));
        response.on('error', () => resolve('unknown'));
        response.on('end', () => resolve(isAgent(text) ? 'present' : 'absent'));
      },
    );
    request.on('timeout', () => {
      resolve('unknown');
      request.destroy();
    });
    request.on('error', (error: NodeJS.ErrnoException) =>
      resolve(
        error.code === 'ECONNREFUSED' || error.code?.startsWith('HPE_') === true ? 'absent' : 'unknown',
      ),
    );
  });
}

function isAgent(text: string): boolean {
  try {
    const status = JSON.parse(text) as { readonly version?: unknown; readonly certificates?: unknown };
    return typeof status.version === 'string' && Array.isArray(status.certificates);
  } catch {
    return false;
  }
}
