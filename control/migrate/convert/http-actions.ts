/** What a rule of a VirtualService does with a request, as filters, backends, timeouts and retries of an HTTPRoute. */
import type { Fields } from '../load.js';
import { Impossible, type HttpMatch } from './matches.js';
import type { Reader } from './reader.js';
import { durationMs, gatewayDuration, serviceNamed, subsetService, type Services } from './services.js';
import { retryOnDefault } from '../../dialects/istio/virtual-service-retries.js';

/** What does not fit, for the comments of the rule. */
export interface Remarks {
  lost(field: string, message: string): void;
  differs(field: string, message: string): void;
}
export interface Actions {
  readonly filters: readonly Fields[];
  readonly backendRefs: readonly Fields[];
  readonly timeouts: Fields;
  readonly retry?: Fields;
}
export interface ActionContext {
  readonly services: Services;
  /** The namespace of the VirtualService. */
  readonly namespace: string;
  /** The port of the Service that the rule is for, if it is only for one. */
  readonly port?: number;
}

/** A destination as a backendRef. Errors: Impossible. */
export function backendOf(destination: Reader, { services, namespace, port: own }: ActionContext): Fields {
  const host = destination.text('host') ?? '';
  const subset = destination.text('subset');
  const given = destination.child('port').number('number');
  const service = serviceNamed(host, namespace);
  if (!service) throw new Impossible(destination.pathOf('host'), `${host} is no Service of the cluster`);
  const port = given ?? services.onlyPort(service.namespace, service.name) ?? own;
  if (port === undefined)
    throw new Impossible(
      destination.pathOf('port'),
      `a backend needs a port, and Service ${service.namespace}/${service.name} was not given, or has several: add it to the directory, or name the port`,
    );
  return {
    group: '',
    kind: 'Service',
    name: subset === undefined ? service.name : subsetService(service.name, subset),
    ...(service.namespace === namespace ? {} : { namespace: service.namespace }),
    port,
  };
}

const list = (map: Readonly<Record<string, string>>): { readonly name: string; readonly value: string }[] =>
  Object.entries(map).map(([name, value]) => ({ name, value }));

function modifier(headers: Reader, what: 'request' | 'response', remarks: Remarks): Fields[] {
  const one = headers.child(what);
  const [set, add, remove] = [one.map('set'), one.map('add'), one.texts('remove')];
  const values = [...Object.values(set), ...Object.values(add)];
  if (values.some((value) => /%[A-Z_]+(\(|%)/.test(value)))
    remarks.lost(one.path, 'a value has a variable of Envoy, which would be sent as it is written');
  if (values.length + remove.length === 0) return [];
  const type = what === 'request' ? 'RequestHeaderModifier' : 'ResponseHeaderModifier';
  return [
    {
      type,
      [what === 'request' ? 'requestHeaderModifier' : 'responseHeaderModifier']: {
        ...(Object.keys(set).length > 0 ? { set: list(set) } : {}),
        ...(Object.keys(add).length > 0 ? { add: list(add) } : {}),
        ...(remove.length > 0 ? { remove } : {}),
      },
    },
  ];
}
export const headerFilters = (reader: Reader, remarks: Remarks): Fields[] => {
  const headers = reader.child('headers');
  return [...modifier(headers, 'request', remarks), ...modifier(headers, 'response', remarks)];
};

function redirectOf(rule: Reader): Fields {
  const redirect = rule.child('redirect');
  const [uri, authority, scheme] = [
    redirect.text('uri'),
    redirect.text('authority'),
    redirect.text('scheme'),
  ];
  const [port, code] = [redirect.number('port'), redirect.number('redirectCode') ?? 301];
  if (redirect.has('prefixRewrite') || redirect.has('derivePort'))
    throw new Impossible(redirect.path, 'prefixRewrite and derivePort have no form in an HTTPRoute');
  if (![301, 302, 303, 307, 308].includes(code))
    throw new Impossible(
      redirect.pathOf('redirectCode'),
      `an HTTPRoute redirects with 301, 302, 303, 307 or 308`,
    );
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https')
    throw new Impossible(redirect.pathOf('scheme'), 'an HTTPRoute redirects to http or https');
  const [host, ownPort] = (authority ?? '').split(':');
  return {
    type: 'RequestRedirect',
    requestRedirect: {
      ...(scheme === undefined ? {} : { scheme }),
      ...(host ? { hostname: host } : {}),
      ...(port === undefined ? (ownPort ? { port: Number(ownPort) } : {}) : { port }),
      ...(uri === undefined ? {} : { path: { type: 'ReplaceFullPath', replaceFullPath: uri } }),
      statusCode: code,
    },
  };
}

/** Istio replaces the text of the prefix, an HTTPRoute whole segments of the path. */
function rewriteOf(rule: Reader, matches: readonly HttpMatch[]): Fields {
  const rewrite = rule.child('rewrite');
  const [uri, authority] = [rewrite.text('uri'), rewrite.text('authority')];
  if (rewrite.has('uriRegexRewrite'))
    throw new Impossible(rewrite.pathOf('uriRegexRewrite'), 'an HTTPRoute rewrites no regular expressions');
  let path: Fields | undefined;
  if (uri !== undefined) {
    if (matches.length > 0 && matches.every((one) => one.path?.type === 'Exact'))
      path = { type: 'ReplaceFullPath', replaceFullPath: uri };
    else if (uri.endsWith('/') && matches.every((one) => (one.path?.value ?? '/') === '/'))
      path = { type: 'ReplacePrefixMatch', replacePrefixMatch: uri };
    else
      throw new Impossible(
        rewrite.pathOf('uri'),
        'Istio replaces the text of a prefix (/api also of /apis), an HTTPRoute whole segments of a path',
      );
  }
  return {
    type: 'URLRewrite',
    urlRewrite: { ...(authority === undefined ? {} : { hostname: authority }), ...(path ? { path } : {}) },
  };
}

function share(percent: number): Fields {
  if (percent >= 100) return {};
  return Number.isInteger(percent)
    ? { percent }
    : { fraction: { numerator: Math.round(percent * 10_000), denominator: 1_000_000 } };
}
function mirrorFilters(rule: Reader, context: ActionContext): Fields[] {
  // A percentage without a value is 0, as in protobuf.
  const percentage = (of: Reader, key: string): number | undefined =>
    of.has(key) ? (of.child(key).number('value') ?? 0) : undefined;
  const percents = [
    percentage(rule, 'mirrorPercentage'),
    rule.number('mirrorPercent'),
    rule.number('mirror_percent'),
  ];
  const percent = percents.find((one) => one !== undefined) ?? 100;
  const single = rule.has('mirror') ? [{ to: rule.child('mirror'), percent }] : [];
  const several = rule.children('mirrors').map((one) => ({
    to: one.child('destination'),
    percent: percentage(one, 'percentage') ?? 100,
  }));
  return [...single, ...several].map((one) => ({
    type: 'RequestMirror',
    requestMirror: { backendRef: backendOf(one.to, context), ...share(one.percent) },
  }));
}

function corsFilter(rule: Reader, remarks: Remarks): Fields[] {
  if (!rule.has('corsPolicy')) return [];
  const cors = rule.child('corsPolicy');
  const origins = [
    ...cors.texts('allowOrigin'),
    ...cors.children('allowOrigins').flatMap((one) => {
      const exact = one.text('exact');
      if (exact !== undefined) return [exact];
      one.takeAll();
      remarks.lost(
        one.path,
        'an HTTPRoute lists whole origins: no prefix or regular expression of them; pages of these origins are refused',
      );
      return [];
    }),
  ];
  const maxAge = cors.text('maxAge');
  const ms = maxAge === undefined ? undefined : durationMs(maxAge);
  const seconds = ms === undefined ? undefined : Math.floor(ms / 1000);
  if (maxAge !== undefined && !(seconds !== undefined && seconds >= 1))
    remarks.lost(cors.pathOf('maxAge'), `${maxAge} is no whole number of seconds`);
  const texts = {
    allowMethods: cors.texts('allowMethods'),
    allowHeaders: cors.texts('allowHeaders'),
    exposeHeaders: cors.texts('exposeHeaders'),
  };
  const credentials = cors.flag('allowCredentials');
  return [
    {
      type: 'CORS',
      cors: {
        ...(origins.length > 0 ? { allowOrigins: origins } : {}),
        ...Object.fromEntries(Object.entries(texts).filter(([, values]) => values.length > 0)),
        ...(credentials === undefined ? {} : { allowCredentials: credentials }),
        ...(seconds !== undefined && seconds >= 1 ? { maxAge: seconds } : {}),
      },
    },
  ];
}

const retryCodes: Readonly<Record<string, readonly number[]>> = {
  '5xx': [500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511],
  'gateway-error': [502, 503, 504],
  'retriable-4xx': [409],
};
/** Conditions that hold for every rule with a retry, and for requests that nobody executed without one. */
const always: ReadonlySet<string> = new Set([
  'connect-failure',
  'refused-stream',
  'reset',
  'reset-before-request',
]);

function retryOf(rule: Reader, remarks: Remarks): { readonly retry?: Fields; readonly perTry?: string } {
  if (!rule.has('retries')) return {};
  const retries = rule.child('retries');
  const attempts = retries.number('attempts');
  const [perTry, backoff, on] = [
    retries.text('perTryTimeout'),
    retries.text('backoff'),
    retries.text('retryOn'),
  ];
  const codes = new Set<number>();
  for (const condition of (on || retryOnDefault).split(',').map((one) => one.trim())) {
    const status = /^[45]\d\d$/.test(condition) ? [Number(condition)] : retryCodes[condition];
    if (condition === '5xx')
      remarks.differs(retries.pathOf('retryOn'), 'the codes that are registered stand for 5xx');
    if (status) for (const one of status) codes.add(one);
    else if (!always.has(condition) && condition !== 'retriable-status-codes')
      remarks.lost(
        retries.pathOf('retryOn'),
        `a rule of an HTTPRoute has no ${condition}; retry.conditions of a TrafficPolicy may have it, for all of the Service`,
      );
  }
  if (retries.flag('retryRemoteLocalities') === true)
    remarks.lost(
      retries.pathOf('retryRemoteLocalities'),
      'a retry prefers an endpoint that was not tried, of the same locality',
    );
  retries.take('retryIgnorePreviousHosts');
  const [each, wait] = [perTry, backoff].map((one) => (one === undefined ? undefined : gatewayDuration(one)));
  if (perTry !== undefined && each === undefined)
    remarks.lost(retries.pathOf('perTryTimeout'), `${perTry} has no form in milliseconds`);
  if (backoff !== undefined && wait === undefined)
    remarks.lost(retries.pathOf('backoff'), `${backoff} has no form in milliseconds`);
  return {
    ...(attempts === 0
      ? {}
      : {
          retry: {
            ...(codes.size > 0 ? { codes: [...codes].sort((a, b) => a - b) } : {}),
            ...(attempts === undefined ? {} : { attempts }),
            ...(wait === undefined ? {} : { backoff: wait }),
          },
        }),
    ...(each === undefined ? {} : { perTry: each }),
  };
}

/** Errors: Impossible, if the requests of the rule would go elsewhere. */
export function httpActions(
  rule: Reader,
  matches: readonly HttpMatch[],
  context: ActionContext,
  remarks: Remarks,
): Actions {
  for (const key of ['delegate', 'directResponse'])
    if (rule.has(key)) throw new Impossible(rule.pathOf(key), `an HTTPRoute has no ${key}`);
  const filters = [...headerFilters(rule, remarks)];
  if (rule.has('redirect')) filters.push(redirectOf(rule));
  if (rule.has('rewrite')) filters.push(rewriteOf(rule, matches));
  filters.push(...mirrorFilters(rule, context), ...corsFilter(rule, remarks));
  const routes = rule.children('route');
  const backendRefs = routes.map((one): Fields => {
    const own = headerFilters(one, remarks);
    const weight = one.number('weight');
    return {
      ...backendOf(one.child('destination'), context),
      ...(weight === undefined ? {} : { weight }),
      ...(own.length > 0 ? { filters: own } : {}),
    };
  });
  const timeout = rule.text('timeout');
  const request = timeout === undefined ? undefined : gatewayDuration(timeout);
  if (timeout !== undefined && request === undefined)
    remarks.lost(rule.pathOf('timeout'), `${timeout} has no form in milliseconds`);
  const { retry, perTry: given } = retryOf(rule, remarks);
  const [whole, each] = [request, given].map((one) => (one === undefined ? 0 : (durationMs(one) ?? 0)));
  // A try that may take longer than the request ends with it.
  const perTry =
    given !== undefined && whole !== undefined && whole > 0 && (each ?? 0) >= whole ? undefined : given;
  return {
    filters,
    backendRefs,
    timeouts: {
      ...(request === undefined ? {} : { request }),
      ...(perTry === undefined ? {} : { backendRequest: perTry }),
    },
    ...(retry ? { retry } : {}),
  };
}
