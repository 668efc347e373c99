/**
 * Asks a decision service whether a request may pass (Envoy: ext_authz filter). Without a decision the request is refused, unless the policy
 * fails open.
 */
import { decodeTarget, encodeTarget } from '../../discovery/codec/backend-target.js';
import type { ExternalAuthorizationFilter } from '../../discovery/gen/weft.js';
import { mayHaveContent } from '../../model/http-status.js';
import type {
  AskedRequest,
  DecisionProtocol,
  ServiceTarget,
  Waiting,
} from '../external-authorization/asked-request.js';
import type { Allowed, Decision, NoDecision } from '../external-authorization/decision.js';
import type { AskOptions, DecisionCounts } from '../external-authorization/external-authorization.js';
import { fieldList } from '../external-authorization/field-list.js';
import { grpcProtocol } from '../external-authorization/grpc-protocol.js';
import { httpProtocol } from '../external-authorization/http-protocol.js';
import {
  changeFields,
  changeQuery,
  removeFields,
  removeSpellings,
} from '../external-authorization/request-change.js';
import { dashed } from '../http/field-names.js';
import { removeHeader, type Headers } from '../http/headers.js';
import type { LocalReply } from '../http/local-reply.js';
import type { TrafficAction } from '../telemetry/request-record.js';
import { Slot, type FilteredRequest, type FilterKind, type FilterResponse } from './filter.js';
import { restoreForwarding } from './forwarding-headers.js';
import { limitMatch } from './request-match.js';

/** Ends the call for a request that has ended. */
const calls = new Slot<Waiting>();
/** What decisions change of the response, by the compiled policy. */
const allowances = new Slot<Map<string, Allowed>>();
let compiled = 0;

export const externalAuthorization: FilterKind<ExternalAuthorizationFilter> = {
  stage: 'external-authorization',
  compile(config) {
    const { name, dryRun, failOpen, bodyBytesMax, bodyPartial, routesMayDisable, timeoutMs, cacheMs } =
      config;
    const target = serviceOf(config);
    if (timeoutMs < 1) throw new Error('the timeout of external authorization must be at least 1 ms');
    const isMatched = limitMatch(config.matches);
    const isAsked = (request: FilteredRequest): boolean =>
      isMatched(request) && !(routesMayDisable && request.isExternalAuthorizationDisabled());
    const statusOnError = config.statusOnError || 503;
    if (statusOnError < 400 || statusOnError > 599)
      throw new Error(`${statusOnError} is no status of an error`);
    const ask: AskOptions = {
      scope: String(compiled++),
      target,
      protocol: protocolOf(config, target),
      timeoutMs,
      cacheMs,
      dryRun,
    };
    const named = config.upstreamHeaders.filter((one) => one !== '*');
    const isOwned = fieldList(named.map(dashed), false);
    const ownedIn = (headers: Headers): Headers =>
      headers.filter((one, i) => i % 2 === 0 && isOwned(dashed(one)));
    const owned = { removeFrom: (headers: Headers): void => removeFields(headers, ownedIn(headers)) };
    const action: TrafficAction = {
      feature: 'external-authorization',
      mode: dryRun ? 'would' : 'did',
      policy: name,
    };

    return {
      onRequest(request) {
        if (!dryRun && named.length > 0) request.forbidTrailers(owned);
        // Without the headers that it made up, a client may send what the service is to be asked about.
        if (!isAsked(request) && (dryRun || !takeOwned(request) || !isAsked(request))) return undefined;
        if (dryRun) return void decideLater(request);
        if (bodyBytesMax === 0 || !request.downstream.hasBody) return decide(request, undefined, false);
        return request.bufferBody(bodyBytesMax).then(({ bytes, isWhole, isFull }) => {
          if (isFull) return fail(request, { kind: 'none', why: bodiesFull, isFull: true });
          if (!isWhole && !bodyPartial) {
            request.act(action);
            return { kind: 'reply', reply: tooLarge(name, bodyBytesMax) };
          }
          return decide(request, bytes.subarray(0, bodyBytesMax), !isWhole);
        });
      },
      onResponse(request, head) {
        const found = allowances.get(request)?.get(ask.scope);
        if (found) changeFields(head.headers, found.responseHeaders);
      },
      onCancel(request) {
        const waiting = calls.get(request);
        if (!waiting) return;
        waiting.isOver = true;
        waiting.cancel?.();
      },
    };

    function decide(request: FilteredRequest, body: Buffer | undefined, isPartial: boolean) {
      const counts = countsOf(request);
      const waiting: Waiting = { isOver: false, cancel: undefined };
      const result = service(request).ask(ask, askedOf(request, body, isPartial), waiting, () => {
        if (counts) counts.cached++;
      });
      if (!(result instanceof Promise)) return apply(request, result, counts);
      calls.set(request, waiting);
      return result.then((decision) => apply(request, decision, counts));
    }

    function apply(
      request: FilteredRequest,
      decision: Decision | NoDecision,
      counts: DecisionCounts | undefined,
    ): FilterResponse | undefined {
      if (decision.kind === 'none') return fail(request, decision);
      if (decision.kind === 'denied') {
        if (counts) counts.denied++;
        request.act(action);
        return { kind: 'reply', reply: denied(name, decision.status, decision) };
      }
      if (counts) counts.ok++;
      change(request, decision);
      return undefined;
    }

    function fail(request: FilteredRequest, { why, isFull }: NoDecision): FilterResponse | undefined {
      const counts = countsOf(request);
      if (counts) counts.error++;
      if (failOpen && isFull !== true) {
        if (counts) counts.failureModeAllowed++;
        takeOwned(request);
        return undefined;
      }
      request.act(action);
      return { kind: 'reply', reply: undecided(name, statusOnError, why) };
    }

    /** In dry run the request does not wait, so that the service does not get its body. */
    function decideLater(request: FilteredRequest): void {
      const counts = countsOf(request);
      // The call may outlive the request, whose head may change meanwhile.
      const { head } = request.downstream;
      const asked = askedOf(request, undefined, false);
      const copy = { ...asked, head: { ...head, headers: [...head.headers] } };
      const settle = (decision: Decision | NoDecision): void => {
        if (decision.kind === 'allowed') {
          if (counts) counts.ok++;
          return;
        }
        if (counts && decision.kind === 'denied') counts.denied++;
        else if (counts) counts.error++;
        if (decision.kind === 'none' && failOpen) return;
        const reason = decision.kind === 'none' ? noDecision(decision.why) : deniedBecause;
        request.act({ ...action, reason });
      };
      const result = service(request).ask(ask, copy, { isOver: false, cancel: undefined }, () => undefined);
      if (result instanceof Promise) request.info.decidedLater(result.then(settle));
      else settle(result);
    }

    /** Takes away the headers that only a decision may set. False: there were none. */
    function takeOwned({ downstream: { head }, authorization }: FilteredRequest): boolean {
      if (named.length === 0) return false;
      const present = ownedIn(head.headers);
      if (present.length === 0) return false;
      authorization.saveHeaders();
      removeFields(head.headers, present);
      return true;
    }

    function change(request: FilteredRequest, decision: Allowed): void {
      const { downstream, authorization, client, context } = request;
      takeOwned(request);
      const { set, remove, responseHeaders } = decision;
      if (responseHeaders.length > 0) {
        const all = allowances.get(request) ?? new Map<string, Allowed>();
        allowances.set(request, all.set(ask.scope, decision));
      }
      changeQuery(downstream.head, decision, context.mergeSlashes);
      if (set.length === 0 && remove.length === 0) return;
      authorization.saveHeaders();
      const { headers } = downstream.head;
      removeFields(headers, remove);
      removeSpellings(headers, set);
      changeFields(headers, set);
      removeHeader(headers, 'host');
      restoreForwarding(headers, client);
    }
  },
  mapBackends: (config, map) => ({ ...config, service: encodeTarget(map(decodeTarget(config.service))) }),
};

const deniedBecause = 'the decision service denies the request';
const noDecision = (why: string): string => `there is no decision: ${why}`;
const bodiesFull = 'too many bytes of bodies wait for decisions';

function service({ context }: FilteredRequest) {
  if (!context.externalAuthorization) throw new Error('this process cannot ask decision services');
  return context.externalAuthorization;
}

const countsOf = (request: FilteredRequest): DecisionCounts | undefined =>
  request.servicePort && service(request).countsOf(request.servicePort);

const askedOf = (
  { downstream: { head, version }, client, servicePort, dialedPort }: FilteredRequest,
  body: Buffer | undefined,
  isPartial: boolean,
): AskedRequest => ({ head, version, client, servicePort, dialedPort, body, isPartial });

/** Error: the service does not exist, so nothing can be decided. */
function serviceOf({ service }: ExternalAuthorizationFilter): ServiceTarget {
  const target = decodeTarget(service);
  if (target.kind !== 'service') throw new Error(`the decision service is invalid: ${target.reason}`);
  return target;
}

function protocolOf(config: ExternalAuthorizationFilter, { service, port }: ServiceTarget): DecisionProtocol {
  const { protocol } = config;
  if (!protocol) throw new Error('external authorization by an unknown protocol');
  if (protocol.$case === 'http') return httpProtocol(config, protocol.value.pathPrefix);
  const hostname = service.slice(service.indexOf('/') + 1);
  return grpcProtocol(config, `${hostname}:${port}`, protocol.value.context);
}

const denied = (
  name: string,
  status: number,
  { headers, body }: { readonly headers: readonly string[]; readonly body: Buffer },
): LocalReply => ({
  status,
  flag: 'UAEX',
  code: 'WEFT_EXTERNAL_AUTHORIZATION_DENIED',
  why: `${name}: ${deniedBecause}`,
  policy: name,
  headers: [...headers],
  ...(body.length > 0 && mayHaveContent(status) ? { body } : {}),
});

const undecided = (name: string, status: number, why: string): LocalReply => ({
  status,
  flag: 'UAEX',
  code: 'WEFT_EXTERNAL_AUTHORIZATION_SERVICE',
  why: `${name}: ${noDecision(why)}`,
  policy: name,
});

const tooLarge = (name: string, bytesMax: number): LocalReply => ({
  status: 413,
  flag: 'UAEX',
  code: 'WEFT_EXTERNAL_AUTHORIZATION_BODY',
  why: `${name}: the request's body has more than ${bytesMax} bytes`,
  policy: name,
});
