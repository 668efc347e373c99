/** Single requests to the Kubernetes API with JSON bodies. Errors: {@link ApiError}. */
import type { IncomingMessage } from 'node:http';
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

interface Response {
  readonly status: number;
  readonly text: string;
}

/** Error: ApiError. */
function urlOf(config: KubeConfig, path: string): URL {
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new ApiError(0, 'no cluster is configured');
  const url = new URL(path, server);
  // An object name with `..` or `?` would address another object than intended.
  if (`${url.pathname}${url.search}` !== path || url.origin !== new URL(server).origin)
    throw new ApiError(0, `${JSON.stringify(path)} is not a plain path of the API server`);
  return url;
}

/** Sends a request. Errors: ApiError. @param bytesMax of the response: of a larger one the request fails */
async function send(
  config: KubeConfig,
  method: string,
  path: string,
  body: object | undefined,
  bytesMax: number,
  accept = 'application/json',
): Promise<Response> {
  const url = urlOf(config, path);
  const options: Parameters<KubeConfig['applyToHTTPSOptions']>[0] = { method, timeout: timeoutMs };
  await config.applyToHTTPSOptions(options);
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const headers = {
      ...(options.headers as Record<string, string> | undefined),
      accept,
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
        if (size > bytesMax) response.destroy(new Error(`the response has more than ${bytesMax} bytes`));
        else parts.push(part);
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }),
      );
    });
    call.on('timeout', () => call.destroy(new Error(`no response in ${timeoutMs} ms`)));
    call.on('error', (error) => fail(error.message));
    call.end(payload);
  });
}

/** The body in JSON. For an unknown API group the API server responds in plain text. */
function jsonOf(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return undefined;
  }
}

function refused(status: number, what: string, body: unknown): ApiError {
  const message = (body as { message?: string } | null)?.message ?? '';
  return new ApiError(status, `${what}: ${status} ${message}`.trim());
}

/** Sends a request and resolves with the parsed body of a 2xx response. PATCH is a server-side apply. Errors: ApiError. */
export async function requestJson(
  config: KubeConfig,
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
): Promise<unknown> {
  const { status, text } = await send(config, method, path, body, responseBytesMax);
  const what = `${method} ${path.split('?')[0]}`;
  const json = jsonOf(text);
  if (!json) throw new ApiError(status >= 400 ? status : 0, `${what}: status ${status} without JSON`);
  if (status >= 200 && status < 300) return json.value;
  throw refused(status, what, json.value);
}

/** Reads an object without its content: the API server leaves out all but the metadata. Errors: ApiError. */
export async function requestMetadata(config: KubeConfig, path: string): Promise<void> {
  const accept = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';
  const { status, text } = await send(config, 'GET', path, undefined, responseBytesMax, accept);
  if (status < 200 || status >= 300) throw refused(status, `GET ${path}`, jsonOf(text)?.value);
}

/** The text of a 2xx response to GET, such as a log. Errors: ApiError, also for a text of more than `bytesMax` bytes. */
export async function requestText(config: KubeConfig, path: string, bytesMax: number): Promise<string> {
  const { status, text } = await send(config, 'GET', path, undefined, bytesMax);
  if (status >= 200 && status < 300) return text;
  throw refused(status, `GET ${path.split('?')[0]}`, jsonOf(text)?.value ?? null);
}

const refusalCharsMax = 64 << 10;

/** The response to a GET that goes on, once it has begun with status 200. It ends when `signal` is aborted. Errors: ApiError. */
export async function requestStream(
  config: KubeConfig,
  path: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const url = urlOf(config, path);
  const options: Parameters<KubeConfig['applyToHTTPSOptions']>[0] = { method: 'GET' };
  await config.applyToHTTPSOptions(options);
  const what = `GET ${url.pathname}`;
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(new ApiError(0, `${what}: ${why}`));
    const headers = {
      ...(options.headers as Record<string, string> | undefined),
      accept: 'application/json',
    };
    const call = request(url, { ...(options as object), headers, signal }, (response) => {
      call.setTimeout(0);
      const { statusCode: status = 0 } = response;
      if (status === 200) return resolve(response);
      let text = '';
      response
        .setEncoding('utf8')
        .on('data', (part: string) => (text = (text + part).slice(0, refusalCharsMax)));
      response.on('error', (error) => fail(error.message));
      response.on('end', () => reject(refused(status, what, jsonOf(text)?.value ?? null)));
    });
    call.setTimeout(timeoutMs, () => call.destroy(new Error(`no response in ${timeoutMs} ms`)));
    call.on('error', (error) => fail(error.message));
    call.end();
  });
}
