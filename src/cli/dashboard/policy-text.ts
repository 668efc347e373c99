/** What the rules of a policy say, as sentences for people. Pure. */
import type {
  AuthorizationPolicy,
  ClaimMatch,
  HttpMatch,
  PolicyMatch,
  PolicyPath,
  RegexMatch,
  StringMatch,
} from '../../model/policy.js';
import type { Cidr } from '../../model/address.js';

/** Values of one field that a sentence shows. */
const valuesShown = 8;

const listed = (values: readonly string[], word = 'or'): string => {
  const shown = values.slice(0, valuesShown);
  if (values.length > valuesShown) shown.push(`${values.length - valuesShown} more`);
  const last = shown.pop() ?? '';
  return shown.length === 0 ? last : `${shown.join(', ')} ${word} ${last}`;
};

function valueText(match: StringMatch | RegexMatch): string {
  if (match.kind === 'presence') return 'any value';
  if (match.kind === 'prefix') return `${match.value}*`;
  if (match.kind === 'suffix') return `*${match.value}`;
  return match.kind === 'regex' ? `/${match.value}/` : match.value;
}
const pathText = (path: PolicyPath): string =>
  path.kind === 'template' ? `/${path.segments.join('/')}` : valueText(path);
const cidrText = ({ ip, prefixLength }: Cidr): string => `${ip}/${prefixLength}`;
const namesOf = (all: readonly StringMatch[]): readonly string[] => all.map(valueText);
const accountsOf = (
  all: readonly { readonly namespace: string; readonly serviceAccount: string }[],
): readonly string[] => all.map(({ namespace, serviceAccount }) => `${namespace}/${serviceAccount}`);

/** A condition and its negation, of one field. */
function both(word: string, values: readonly string[], notValues: readonly string[]): readonly string[] {
  return [
    ...(values.length > 0 ? [`${word} ${listed(values)}`] : []),
    ...(notValues.length > 0 ? [`${word} other than ${listed(notValues)}`] : []),
  ];
}

const isAny = (values: readonly StringMatch[]): boolean => values.some(({ kind }) => kind === 'presence');

/** Identities: their presence is the proof that the client is in the mesh. */
function principalTexts({ principals, notPrincipals }: PolicyMatch): readonly string[] {
  const is = isAny(principals) ? ['any proven identity'] : both('identity', namesOf(principals), []);
  const isNot = isAny(notPrincipals) ? ['no proven identity'] : both('identity', [], namesOf(notPrincipals));
  return [...is, ...isNot];
}

const claimText = ({ path, values, negated }: ClaimMatch): string =>
  `token claim ${path.join('.')} ${negated ? 'other than' : 'of'} ${listed(
    values.map((one) =>
      one.kind === 'number' || one.kind === 'boolean' ? String(one.value) : valueText(one),
    ),
  )}`;

/** Conditions on the client. */
function clientTexts(match: PolicyMatch): readonly string[] {
  const { http } = match;
  return [
    ...both('service account', accountsOf(match.serviceAccounts), accountsOf(match.notServiceAccounts)),
    ...principalTexts(match),
    ...both('namespace', namesOf(match.namespaces), namesOf(match.notNamespaces)),
    ...both('address', match.sourceIps.map(cidrText), match.notSourceIps.map(cidrText)),
    ...both(
      'forwarded address',
      (http?.remoteIps ?? []).map(cidrText),
      (http?.notRemoteIps ?? []).map(cidrText),
    ),
    ...(http?.claims ?? []).map(claimText),
  ];
}

function httpTexts(http: HttpMatch): readonly string[] {
  return [
    ...both('method', http.methods, http.notMethods),
    ...both('path', http.paths.map(pathText), http.notPaths.map(pathText)),
    ...both('host', namesOf(http.hosts), namesOf(http.notHosts)),
    // Values of headers may be secrets.
    ...http.headers.map(({ name, negated }) => `header ${name}${negated ? ' without certain values' : ''}`),
    ...((http.parameters ?? []).length > 0 ? [`query parameter ${listed(http.parameters ?? [])}`] : []),
  ];
}

/** Conditions on what is called. Port 0 is a way to say any port. */
function callTexts(match: PolicyMatch): readonly string[] {
  const notPorts = match.notDestinationPorts.filter((port) => port !== 0);
  return [
    ...both('port', match.destinationPorts.map(String), notPorts.map(String)),
    ...both('destination address', match.destinationIps.map(cidrText), match.notDestinationIps.map(cidrText)),
    ...(match.http ? httpTexts(match.http) : []),
    ...(match.tls
      ? both('TLS server name', namesOf(match.tls.serverNames), namesOf(match.tls.notServerNames))
      : []),
  ];
}

/** Alternatives of a clause; undefined: the clause says nothing of the kind. */
function alternatives(
  matches: readonly PolicyMatch[],
  texts: (match: PolicyMatch) => readonly string[],
): string | undefined {
  const all = matches.map((match) => texts(match).join(' and ')).filter((text) => text !== '');
  return all.length === 0 ? undefined : listed([...new Set(all)]);
}

type Rule = AuthorizationPolicy['rules'][number];

function ruleText(verb: string, { clauses }: Rule): string {
  const clients: string[] = [];
  const calls: string[] = [];
  for (const { matches } of clauses) {
    const isMixed = matches.length > 1 && matches.some((one) => clientTexts(one).length > 0);
    const hasCalls = matches.some((one) => callTexts(one).length > 0);
    if (isMixed && hasCalls) {
      // Each alternative says both: split, they would say that each client may do all.
      const text = alternatives(matches, (one) => [...clientTexts(one), ...callTexts(one)]);
      if (text !== undefined) calls.push(text);
      continue;
    }
    const [client, call] = [alternatives(matches, clientTexts), alternatives(matches, callTexts)];
    if (client !== undefined) clients.push(client);
    if (call !== undefined) calls.push(call);
  }
  const who = clients.length === 0 ? 'every client' : `clients with ${clients.join(', and ')}`;
  return `${verb} ${who}${calls.length === 0 ? '' : `, for ${calls.join(', and ')}`}.`;
}

/** A sentence for each rule, and what the policy does to others. */
export function policyTexts({ action, rules, dryRun }: AuthorizationPolicy): readonly string[] {
  const verb = action === 'allow' ? 'Allows' : dryRun ? 'Would deny' : 'Denies';
  const texts = rules.map((rule) => ruleText(verb, rule));
  if (action === 'deny') return texts.length === 0 ? ['Has no rule, so it denies nothing.'] : texts;
  const rest = dryRun
    ? 'Whoever no ALLOW policy allows is recorded, and not refused.'
    : 'Whoever no ALLOW policy allows is refused.';
  return texts.length === 0 ? [`Has no rule, so it allows nobody. ${rest}`] : [...texts, rest];
}
