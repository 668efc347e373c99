/** A suggestion as YAML with comments. Pure. */
import { identityText, partyText, requestText, type Call } from './calls.js';
import type { SuggestedPolicy, SuggestedRule, SuggestedTarget, Suggestion } from './suggest.js';

const keywords = new Set(['y', 'n', 'yes', 'no', 'on', 'off', 'true', 'false', 'null', 'nan', 'inf']);
const plain = /^[A-Za-z/][A-Za-z0-9/._-]*$/;
/** A YAML scalar that is text for every reader. */
const scalar = (text: string): string =>
  plain.test(text) && !keywords.has(text.toLowerCase()) ? text : JSON.stringify(text);
const listText = (values: readonly (string | number)[]): string =>
  `[${values.map((one) => (typeof one === 'number' ? String(one) : scalar(one))).join(', ')}]`;
/** Text of a comment: one line. */
const comment = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?');

const callsShownMax = 50;
const time = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;
const callText = (call: Call): string =>
  [
    `${partyText(call.source)} (${identityText(call.source)}) to port ${call.port === 0 ? '?' : call.port}`,
    requestText(call),
  ]
    .filter((one) => one !== '')
    .join(' ');

function* callComments(indent: string, calls: readonly Call[]): Generator<string> {
  for (const call of calls.slice(0, callsShownMax)) {
    const what = `${call.isRequest ? 'request' : 'connection'}${call.passed === 1 ? '' : 's'}`;
    const audited =
      call.audited > 0
        ? `, ${call.audited} of them would be refused by ${[...call.policies].join(', ')}`
        : '';
    const once = call.passed === 1 ? '; seen once' : '';
    yield comment(
      `${indent}# ${callText(call)}: ${call.passed} ${what}, last seen ${time(call.lastSeenMs)}${audited}${once}`,
    );
  }
  if (calls.length > callsShownMax) yield `${indent}# and ${calls.length - callsShownMax} more`;
}

const targetText = ({ ports, methods, paths }: SuggestedTarget): string =>
  [
    `ports: ${listText(ports)}`,
    ...(methods.length > 0 ? [`methods: ${listText(methods)}`] : []),
    ...(paths.length > 0 ? [`paths: ${listText(paths)}`] : []),
  ].join(', ');

const itemsMax = 100;
function* fromLines(field: string, values: readonly string[]): Generator<string> {
  for (let at = 0; at < values.length; at += itemsMax)
    yield `        - ${field}: ${listText(values.slice(at, at + itemsMax))}`;
}

function* ruleLines({ serviceAccounts, identities, to, calls }: SuggestedRule): Generator<string> {
  yield* callComments('    ', calls);
  yield '    - from:';
  yield* fromLines('serviceAccounts', serviceAccounts);
  yield* fromLines('identities', identities);
  yield '      to:';
  for (const target of to) yield `        - { ${targetText(target)} }`;
}

function* policyLines(policy: SuggestedPolicy): Generator<string> {
  const { name, namespace, selector, rules, unnamed, refused } = policy;
  yield '---';
  if (unnamed.length > 0) {
    yield '# In audit mode, because no rule can name the following, which passed. Decide about it, then remove the line with mode: audit.';
    for (const { call, why } of unnamed.slice(0, callsShownMax))
      yield comment(
        `#   ${callText(call)}, ${call.passed} times, last seen ${time(call.lastSeenMs)}: ${why}`,
      );
    if (unnamed.length > callsShownMax) yield `#   and ${unnamed.length - callsShownMax} more`;
  }
  if (refused.length > 0) {
    yield '# Was refused, and is not allowed here:';
    for (const call of refused.slice(0, callsShownMax))
      yield comment(
        `#   ${callText(call)}, ${call.refused} times${call.policies.size > 0 ? `, by ${[...call.policies].join(', ')}` : ''}`,
      );
    if (refused.length > callsShownMax) yield `#   and ${refused.length - callsShownMax} more`;
  }
  yield 'apiVersion: weft.dev/v1alpha1';
  yield 'kind: AccessPolicy';
  yield `metadata: { name: ${scalar(name)}, namespace: ${scalar(namespace)} }`;
  yield 'spec:';
  yield '  action: ALLOW';
  if (unnamed.length > 0) yield '  mode: audit';
  yield '  selector:';
  yield '    matchLabels:';
  for (const [key, value] of Object.entries(selector)) yield `      ${scalar(key)}: ${JSON.stringify(value)}`;
  yield rules.length === 0 ? '  rules: []' : '  rules:';
  for (const rule of rules) yield* ruleLines(rule);
}

/** @param gaps what the observation lacks */
export function* suggestionLines(
  { policies, remarks }: Suggestion,
  gaps: readonly string[],
): Generator<string> {
  for (const one of gaps) yield comment(`# ${one}`);
  for (const one of remarks) yield comment(`# ${one}`);
  if (policies.length === 0) yield '# nothing was observed for which a policy can be suggested';
  for (const policy of policies) yield* policyLines(policy);
}
