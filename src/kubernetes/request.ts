/** Single requests to the Kubernetes API with JSON bodies. Errors: {@link ApiError}. */
import { request } from 'node:https';
import type { KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../base/errors.js';

const timeoutMs = 30_000;
const responseBytesMax = 256 << 20;

export class ApiError extends WeftError {
  constructor(
    /** HTTP status; 0 if there was no response. */
    readonly status: number,
    message: string,
  ) {
    super('WEFT_KUBERNETES_API', message, { retryable: status === 0 || status === 429 || status >= 500 });
  }
}

/** Sends a request and resolves with the parsed body of a 2xx response. PATCH is a server-side apply. Errors: ApiError. */
export async function requestJson(
  config: KubeConfig,
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
): Promise<unknown> {
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new ApiError(0, 'no cluster is configured');
  const url = new URL(path, server);
  // An object name with `..` or `?` would address another object than intended.
  if (`${url.pathname}${url.search}` !== path || url.origin !== new URL(server).origin)
    throw new ApiError(0, `${JSON.stringify(path)} is not a plain path of the API server`);
  const options: Parameters<KubeConfig['applyToHTTPSOptions']>[0] = { method, timeout: timeoutMs };
  await config.applyToHTTPSOptions(options);
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = {
      ...(options.headers as Record<string, string> | undefined),
      accept: 'application/json',
      ...(payload === undefined
        ? {}
        : {
            'content-type': method === 'PATCH' ? 'application/apply-patch+yaml' : 'application/json',
            'content-length': Buffer.byteLength(payload),
          }),
    };
    const fail = (why: string): void => reject(new ApiError(0, `${method} ${url.pathname}: ${why}`));
    const call = request(url, { ...(options as object), headers }, (response) => {
      const parts: Buffer[] = [];
      let size = 0;
      response.on('error', (error) => fail(error.message));
      response.on('data', (part: Buffer) => {
        size += part.length;
        if (size > responseBytesMax)
          response.destroy(new Error(`the response has more than ${responseBytesMax} bytes`));
        else parts.push(part);
      });
      response.on('end', () => {
        const status = response.statusCode ?? 0;
        let body: unknown;
        try {
          body = JSON.parse(Buffer.concat(parts).toString('utf8'));
        } catch {
          const why = `${method} ${url.pathname}: status ${status} without JSON`;
          // For an unknown API group the API server responds in plain text.
          return reject(new ApiError(status >= 400 ? status : 0, why));
        }
        if (status >= 200 && status < 300) return resolve(body);
        const message = (body as { message?: string }).message ?? '';
        reject(new ApiError(status, `${method} ${url.pathname}: ${status} ${message}`.trim()));
      });
    });
    call.on('timeout', () => call.destroy(new Error(`no response in ${timeoutMs} ms`)));
    call.on('error', (error) => fail(error.message));
    call.end(payload);
  });
}
