/** The TrafficPolicies that pages of the docs show, for the Service `echo` of the testbed. */
import { examples } from './examples.js';

/** The policy `name` of docs/PAGE.md. */
export function policyOf(page: string, name: string): string {
  const found = examples().find(
    ({ where, text }) =>
      where.startsWith(`docs/${page}.md:`) &&
      /^kind: TrafficPolicy$/m.test(text) &&
      text.includes(`metadata: { name: ${name}, `),
  );
  if (!found) throw new Error(`docs/${page}.md shows no TrafficPolicy ${name}`);
  return found.text.replace(/(kind: Service, name: )\w+/, '$1echo');
}
