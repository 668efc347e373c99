/** Runs one health check of an endpoint: HTTP, gRPC (grpc.health.v1) or TCP, by the waypoint's own identity on a connection of its own. */
import type { Duplex } from 'node:stream';
import { errorText } from '../../../base/errors.js';
import type { GrpcCheck, HealthCheck, HttpCheck, TcpCheck } from '../../../discovery/gen/weft.js';
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from '../../../discovery/gen/health.js';
import { isEndpointFailure } from '../../../hbone/endpoint-failure.js';
import { grpcBody, grpcMessageOf } from '../../http/grpc.js';
import { headerOf, type Headers } from '../../http/headers.js';
import type { WaypointLimits } from '../../limits.js';
import { OwnRequestError, sendOwnOn, type OwnRequest, type OwnResponse } from '../../upstream/own-request.js';
import type { HttpVersion } from '../http-version.js';
import type { CheckResult } from './check-state.js';

/** Bytes of a response; a larger one fails the check. */
const responseBytesMax = 1 << 20;
/** The same for TCP, whose bytes are searched again whenever some arrive. */
const tcpBytesMax = 16 << 10;
const userAgent = 'weft-health-check';

export interface CheckContext {
  readonly limits: WaypointLimits;
  /** Opens a connection to the endpoint, or to the check's port of it. */
  dial(): Promise<Duplex>;
  /** The HTTP version that the port speaks. */
  readonly version: HttpVersion;
  /** The Service's host name: the authority of checks that name none. */
  readonly host: string;
}

const ok: CheckResult = { kind: 'ok' };

/** Never rejects, and ends within the check's timeout. */
export async function runCheck(check: HealthCheck, context: CheckContext): Promise<CheckResult> {
  const { kind, timeoutMs } = check;
  try {
    switch (kind?.$case) {
      case 'http':
        return await checkHttp(kind.value, timeoutMs, context);
      case 'grpc':
        return await checkGrpc(kind.value, timeoutMs, context);
      case 'tcp':
        return await checkTcp(kind.value, timeoutMs, context);
      case undefined:
        return { kind: 'none', why: 'this version does not know the kind of check' };
    }
  } catch (error) {
    return failureOf(error);
  }
}

/** What a check is called where its failure is shown. */
export function nameOfCheck({ kind, port }: HealthCheck): string {
  const at = port === 0 ? '' : ` at port ${port}`;
  switch (kind?.$case) {
    case 'http':
      return `HTTP ${kind.value.path}${at}`;
    case 'grpc':
      return `gRPC ${kind.value.service === '' ? 'server' : kind.value.service}${at}`;
    default:
      return `TCP${at}`;
  }
}

function failureOf(error: unknown): CheckResult {
  const why = errorText(error);
  if (error instanceof OwnRequestError) {
    // A response that cannot be read is the endpoint's fault, as one that never ends.
    if (error.kind !== 'connect') return { kind: error.kind === 'too-large' ? 'response' : 'network', why };
    return error.cause === undefined || isEndpointFailure(error.cause)
      ? { kind: 'network', why }
      : { kind: 'none', why };
  }
  return { kind: isEndpointFailure(error) ? 'network' : 'none', why };
}

async function checkHttp(check: HttpCheck, timeoutMs: number, context: CheckContext): Promise<CheckResult> {
  const headers: Headers = ['user-agent', userAgent];
  for (const { name, value } of check.headers) headers.push(name.toLowerCase(), value);
  const { status } = await send(context, context.version, {
    method: check.method === '' ? 'GET' : check.method,
    path: check.path,
    authority: check.host === '' ? context.host : check.host,
    headers,
    timeoutMs,
    bodyBytesMax: responseBytesMax,
  });
  const isExpected =
    check.statuses.length === 0
      ? status === 200
      : check.statuses.some(({ first, last }) => status >= first && status <= last);
  return isExpected ? ok : { kind: 'response', why: `status ${status}` };
}

async function checkGrpc(
  { service }: GrpcCheck,
  timeoutMs: number,
  context: CheckContext,
): Promise<CheckResult> {
  const response = await send(context, 'http2', {
    method: 'POST',
    path: '/grpc.health.v1.Health/Check',
    authority: context.host,
    headers: ['content-type', 'application/grpc', 'user-agent', userAgent],
    body: grpcBody(HealthCheckRequest.encode({ service }).finish()),
    timeoutMs,
    bodyBytesMax: responseBytesMax,
  });
  return grpcResult(response);
}

function grpcResult({ status, headers, trailers, body }: OwnResponse): CheckResult {
  if (status !== 200) return { kind: 'response', why: `status ${status}` };
  const grpcStatus = headerOf(trailers ?? headers, 'grpc-status');
  if (grpcStatus !== '0') return { kind: 'response', why: `gRPC status ${grpcStatus ?? 'missing'}` };
  const message = grpcMessageOf(body);
  if (!message) return { kind: 'response', why: 'malformed gRPC message' };
  const serving = servingStatusOf(message);
  return serving === ServingStatus.SERVING
    ? ok
    : { kind: 'response', why: ServingStatus[serving ?? ServingStatus.UNRECOGNIZED] };
}

function servingStatusOf(message: Buffer): ServingStatus | undefined {
  try {
    return HealthCheckResponse.decode(message).status;
  } catch {
    // The endpoint may send any bytes.
    return undefined;
  }
}

/** Sends a request on a connection of its own, which is closed afterwards. */
function send(context: CheckContext, version: HttpVersion, request: OwnRequest): Promise<OwnResponse> {
  return sendOwnOn(context.dial, version, context.limits, request);
}

function checkTcp(
  { send: text, receive }: TcpCheck,
  timeoutMs: number,
  { dial }: CheckContext,
): Promise<CheckResult> {
  return new Promise((resolve, reject) => {
    let stream: Duplex | undefined;
    let received = Buffer.alloc(0);
    let isOver = false;
    const end = (result: CheckResult): void => {
      isOver = true;
      clearTimeout(timer);
      stream?.destroy();
      resolve(result);
    };
    const fail = (why: string): void => end({ kind: 'network', why });
    const timer = setTimeout(() => fail(`no response within ${timeoutMs} ms`), timeoutMs);
    dial().then(
      (opened) => {
        if (isOver) return void opened.destroy();
        stream = opened;
        opened.on('error', () => undefined);
        opened.on('close', () => {
          if (!isOver) fail('the endpoint closed the connection');
        });
        opened.on('end', () => {
          if (!isOver) fail('the endpoint closed the connection');
        });
        opened.on('data', (bytes: Buffer) => {
          if (isOver) return;
          received = Buffer.concat([received, bytes]);
          if (containsInOrder(received, receive)) return end(ok);
          if (received.length > tcpBytesMax) end({ kind: 'response', why: 'unexpected data' });
        });
        if (text.length > 0) opened.write(text);
        if (receive.length === 0) {
          // What was written is on its way; the end is orderly.
          isOver = true;
          clearTimeout(timer);
          opened.end();
          opened.resume();
          setTimeout(() => opened.destroy(), 100).unref();
          resolve(ok);
        }
      },
      (error: unknown) => {
        clearTimeout(timer);
        if (isOver) return;
        isOver = true;
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

/** Whether all parts appear, each after the one before it, with any bytes between them (as in Envoy). */
export function containsInOrder(received: Buffer, parts: readonly Uint8Array[]): boolean {
  let from = 0;
  for (const part of parts) {
    const at = received.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return true;
}
