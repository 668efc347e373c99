/** Envoy's external authorization API v3 over gRPC. */
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  CheckRequest,
  CheckResponse,
  HeaderValueOption_HeaderAppendAction as Append,
  type DeniedHttpResponse,
  type HeaderValueOption,
  type OkHttpResponse,
} from '../../discovery/gen/ext_authz.js';
import type { ExternalAuthorizationFilter, HeaderPair } from '../../discovery/gen/weft.js';
import { grpcBody, grpcMessageOf } from '../http/grpc.js';
import { headerOf, type Headers } from '../http/headers.js';
import { partialBodyField, type AskedRequest, type DecisionProtocol } from './asked-request.js';
import { denialStatus, type Decision, type HeaderChange } from './decision.js';
import {
  decisionLimits,
  FieldChecker,
  isSettableInRequest,
  isSettableInResponse,
} from './decision-headers.js';
import { fieldList, type FieldList } from './field-list.js';

const checkMethod = '/envoy.service.auth.v3.Authorization/Check';

/**
 * @param authority of the calls
 * @param context sent as context extensions
 */
export function grpcProtocol(
  config: ExternalAuthorizationFilter,
  authority: string,
  context: readonly HeaderPair[],
): DecisionProtocol {
  const extensions = Object.fromEntries(context.map(({ name, value }) => [name, value]));
  const isSent = fieldList(config.requestHeaders, true);
  const sendsAll = config.requestHeaders.length === 0;
  const mayChange = fieldList(config.upstreamHeaders, true);
  const mayReach = fieldList(config.clientHeaders, true);
  // What differs for each request would never be found in the cache.
  const isKept = config.cacheMs > 0;
  return {
    call: (request, timeoutMs) => ({
      method: 'POST',
      path: checkMethod,
      authority,
      headers: ['content-type', 'application/grpc', 'te', 'trailers', 'grpc-timeout', `${timeoutMs}m`],
      body: grpcBody(
        encoded({
          attributes: {
            source: {
              address: {
                socketAddress: {
                  address: request.client.address.ip,
                  portValue: isKept ? 0 : request.client.address.port,
                },
              },
              service: '',
              labels: {},
              principal: request.client.identity ?? '',
            },
            destination: {
              address: { socketAddress: { address: '', portValue: request.dialedPort } },
              service: hostnameOf(request),
              labels: {},
              principal: '',
            },
            request: {
              time: isKept ? undefined : new Date(),
              http: httpOf(request, isSent, sendsAll, isKept),
            },
            contextExtensions: extensions,
          },
        }),
      ),
      version: 'http2',
    }),
    read({ status, headers, body, trailers }) {
      const grpcStatus = headerOf(trailers ?? headers, 'grpc-status');
      if (status !== 200 || grpcStatus !== '0')
        throw new Error(
          `the service responded ${status}, grpc-status ${(grpcStatus ?? 'absent').slice(0, 8)}`,
        );
      const message = grpcMessageOf(body);
      if (!message) throw new Error('the response is not one uncompressed message');
      return decisionOf(CheckResponse.decode(message), mayChange, mayReach);
    },
  };
}

const nothing = Buffer.alloc(0);

/** Used for one message after the other: most of the cost of encoding is memory. */
let writer = new BinaryWriter();
function encoded(message: CheckRequest): Uint8Array {
  // What was made for a body would stay as large as that.
  const used =
    message.attributes?.request?.http?.headers[partialBodyField] === undefined ? writer : undefined;
  if (!used) return CheckRequest.encode(message).finish();
  try {
    return CheckRequest.encode(message, used).finish();
  } catch (error) {
    writer = new BinaryWriter();
    throw error;
  }
}

const hostnameOf = ({ servicePort }: AskedRequest): string =>
  servicePort ? servicePort.service.slice(servicePort.service.indexOf('/') + 1) : '';

function httpOf(request: AskedRequest, isSent: FieldList, sendsAll: boolean, isKept: boolean) {
  const { head, body, version } = request;
  // A client may send a header of the name `__proto__`.
  const headers = Object.create(null) as Record<string, string>;
  if (sendsAll) {
    headers[':authority'] = head.authority;
    headers[':method'] = head.method;
    headers[':path'] = head.path;
    headers[':scheme'] = head.scheme;
  }
  for (let i = 0; i < head.headers.length; i += 2) {
    const name = head.headers[i] as string;
    if (!isSent(name)) continue;
    const value = textOf(head.headers[i + 1] ?? '');
    const before = headers[name];
    headers[name] = before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ','}${value}`;
  }
  if (body) headers[partialBodyField] = String(request.isPartial);
  else delete headers[partialBodyField];
  const text = body && utf8Of(body);
  return {
    id: isKept ? '' : (headerOf(head.headers, 'x-request-id') ?? ''),
    method: head.method,
    headers,
    path: head.path,
    host: head.authority,
    scheme: head.scheme,
    size: isKept ? 0 : sizeOf(head.headers),
    protocol: version,
    body: text ?? '',
    rawBody: body && text === undefined ? body : nothing,
  };
}

/** The declared size of the body; -1: unknown. */
function sizeOf(headers: Headers): number {
  const length = headerOf(headers, 'content-length');
  return length !== undefined && /^\d{1,15}$/.test(length) ? Number(length) : -1;
}

/** Headers are kept as bytes, one for each character; protobuf needs UTF-8. */
const textOf = (value: string): string =>
  /[\x80-\xff]/.test(value) ? Buffer.from(value, 'latin1').toString('utf8') : value;

const utf8 = new TextDecoder('utf-8', { fatal: true });
/** The text of a body; undefined: it is not UTF-8. */
function utf8Of(body: Buffer): string | undefined {
  try {
    return utf8.decode(body);
  } catch {
    return undefined;
  }
}

/** Error: the message is no decision. */
function decisionOf(
  { status, httpResponse }: CheckResponse,
  mayChange: FieldList,
  mayReach: FieldList,
): Decision {
  if (httpResponse?.$case === 'errorResponse') throw new Error('the service says that it failed');
  // Without a status only a response that says so allows: an empty message is no decision.
  const allows = status ? status.code === 0 : httpResponse?.$case === 'okResponse';
  if (httpResponse?.$case === 'deniedResponse') return deniedOf(httpResponse.value, mayReach);
  if (allows) return allowedOf(httpResponse?.value, mayChange);
  if (!status) throw new Error('the message has neither a status nor a response');
  return { kind: 'denied', status: 403, headers: [], body: nothing };
}

function deniedOf({ status, headers, body }: DeniedHttpResponse, mayReach: FieldList): Decision {
  const fields = new FieldChecker();
  const kept = headers.flatMap((one): string[] => {
    const change = changeOf(one, fields, 'append');
    return change && isSettableInResponse(change.name) && mayReach(change.name)
      ? [change.name, change.value]
      : [];
  });
  return {
    kind: 'denied',
    status: denialStatus(status?.code ?? 403),
    headers: kept,
    body: Buffer.from(body, 'utf8'),
  };
}

function allowedOf(response: OkHttpResponse | undefined, mayChange: FieldList): Decision {
  const fields = new FieldChecker();
  const changes = (list: readonly HeaderValueOption[], usual: 'set' | 'append'): HeaderChange[] =>
    list.flatMap((one) => changeOf(one, fields, usual) ?? []);
  const set = changes(response?.headers ?? [], 'set');
  const remove = (response?.headersToRemove ?? []).map((name) => fields.check(name, ''));
  const responseHeaders = changes(response?.responseHeadersToAdd ?? [], 'append');
  const parameters = (response?.queryParametersToSet ?? []).map(({ key, value }) => [key, value] as const);
  const parametersToRemove = response?.queryParametersToRemove ?? [];
  if (parameters.length + parametersToRemove.length > decisionLimits.parametersMax)
    throw new Error(`the decision changes more than ${decisionLimits.parametersMax} query parameters`);
  const mayBe = (name: string): boolean => isSettableInRequest(name) && mayChange(name);
  return {
    kind: 'allowed',
    set: set.filter(({ name }) => mayBe(name)),
    remove: remove.filter(isSettableInRequest),
    parameters,
    parametersToRemove,
    responseHeaders: responseHeaders.filter(({ name }) => isSettableInResponse(name)),
  };
}

/**
 * One change of a header; undefined: it has none.
 * @param usual the action if the service states none. In the API the default of `append` is false, while the default of the newer field
 * means to append; as in Envoy, headers of requests are set and those of responses added.
 */
function changeOf(
  { header, append, appendAction }: HeaderValueOption,
  fields: FieldChecker,
  usual: 'set' | 'append',
): HeaderChange | undefined {
  if (!header) return undefined;
  const bytes = header.rawValue.length > 0 ? Buffer.from(header.rawValue) : Buffer.from(header.value, 'utf8');
  const value = bytes.toString('latin1');
  return { name: fields.check(header.key, value), value, action: actionOf(append, appendAction, usual) };
}

function actionOf(
  append: boolean | undefined,
  action: Append,
  usual: 'set' | 'append',
): HeaderChange['action'] {
  if (append !== undefined) return append ? 'append' : 'set';
  switch (action) {
    case Append.ADD_IF_ABSENT:
      return 'set-if-absent';
    case Append.OVERWRITE_IF_EXISTS:
      return 'set-if-present';
    case Append.OVERWRITE_IF_EXISTS_OR_ADD:
      return 'set';
    default:
      return usual;
  }
}
