/** The TrafficPolicies that pages of the docs show, for the Service `echo` of the testbed. */
import { examples } from './examples.js';

/** The policies of docs/PAGE.md, in their order. */
export const policiesOf = (page: string): string[] =>
  examples()
    .filter(({ where, text }) => where.startsWith(`docs/${page}.md:`) && /^kind: TrafficPolicy$/m.test(text))
    .map(({ text }) => text.replace(/(kind: Service, name: )\w+/, '$1echo'));

/** The policy `name` of docs/PAGE.md, or its first. */
export function policyOf(page: string, name?: string): string {
  const found = policiesOf(page).find(
    (text) => name === undefined || text.includes(`metadata: { name: ${name}, `),
  );
  if (found === undefined) throw new Error(`docs/${page}.md shows no TrafficPolicy ${name ?? ''}`);
  return found;
}
