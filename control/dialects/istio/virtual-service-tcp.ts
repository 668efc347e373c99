/** Translates the TCP and TLS rules of a VirtualService for one Service port. Pure. */
import { errorText } from '../../../src/base/errors.js';
import { cidrContains, parseCidr, parseIp } from '../../../src/model/address.js';
import type { RouteBackend, RouteMatch, RouteRule } from '../../../src/model/route.js';
import type { ConnectionMatch, ConnectionRule } from '../../objects/istio-virtual-service.js';
import { targetOf, weightOf } from './virtual-service-destinations.js';
import { closedBackends, type RuleContext } from './virtual-service-context.js';
import { dividedMatches } from './virtual-service-clients.js';
import { quoteRegex } from '../../../src/policy/regex.js';

/** @param addresses of the Service: a client dials one of them */
export function connectionRule(
  rule: ConnectionRule,
  at: string,
  addresses: readonly string[],
  context: RuleContext,
): RouteRule[] {
  const divided = dividedMatches({ match: rule.match, name: at, at }, context, (match, field) =>
    readMatch(match, field, addresses, context),
  );
  if (!divided) return [];
  const { matches, closed, isForNobody } = divided;
  if (isForNobody) return [...closed];
  return [...closed, { name: at, matches, filters: [], backends: backendsOf(rule, at, context) }];
}

function backendsOf({ route = [] }: ConnectionRule, at: string, context: RuleContext): RouteBackend[] {
  const { problem } = context;
  if (problem !== undefined) return closedBackends(problem);
  try {
    return route.map(({ destination = {}, weight }, index) => {
      const target = targetOf(destination, context.namespace, context.port, context.lookup);
      if (target.kind === 'invalid') context.onProblem(`${at}.route[${index}].destination`, target.reason);
      return { target, weight: weightOf(weight, route.length), filters: [] };
    });
  } catch (error) {
    const why = `${at}.${errorText(error)}`;
    context.onProblem('', why);
    return closedBackends(why);
  }
}

/** Undefined: no connection to the Service's addresses matches. */
function readMatch(
  match: ConnectionMatch,
  at: string,
  addresses: readonly string[],
  { reader, onProblem }: RuleContext,
): RouteMatch | undefined {
  const { sniHosts = [], destinationSubnets = [], sourceSubnet } = match;
  if (sourceSubnet !== undefined && sourceSubnet !== '')
    onProblem(`${at}.sourceSubnet`, 'it is not carried out: use sourceNamespace or sourceLabels');
  const sni = reader.sni(sniHosts);
  const headers = sni ? [sni] : [];
  if (destinationSubnets.length === 0) return { headers, query: [] };
  let dialed: readonly string[];
  try {
    const subnets = destinationSubnets.map((text) =>
      parseCidr(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`),
    );
    dialed = addresses.filter((text) => subnets.some((subnet) => cidrContains(subnet, parseIp(text))));
  } catch (error) {
    onProblem(`${at}.destinationSubnets`, errorText(error));
    return { headers, query: [] };
  }
  if (dialed.length === 0) return undefined;
  if (dialed.length === addresses.length) return { headers, query: [] };
  const value = dialed.map((text) => quoteRegex(parseIp(text))).join('|');
  return { headers: [...headers, { kind: 'regex', name: ':destination', value }], query: [] };
}
