/**
 * Evaluates the regular expressions of policies. There is a time budget for each pair of a policy's and a client's namespace: neither the
 * authors of expressions nor those who send requests can use up what others need.
 */
import type { RegexMatch } from '../model/policy.js';
import { Regex, RegexCost, RegexTime } from './regex.js';

/** Pairs with a budget. The oldest is dropped, and starts anew when it comes again. */
const pairsMax = 4096;

/** Passes the work of an expression to the budget of the pair that it is evaluated for. Evaluation is synchronous. */
class CurrentBudget {
  readonly #budgets = new Map<string, RegexTime>();
  #budget = new RegexTime();

  set(policyNamespace: string, clientNamespace: string): void {
    const pair = `${policyNamespace} ${clientNamespace}`;
    let budget = this.#budgets.get(pair);
    if (!budget) {
      this.#budgets.set(pair, (budget = new RegexTime()));
      const [oldest] = this.#budgets.keys();
      if (this.#budgets.size > pairsMax && oldest !== undefined) this.#budgets.delete(oldest);
    }
    this.#budget = budget;
  }

  run<T>(work: () => T): T {
    return this.#budget.run(work);
  }
}

const current = new CurrentBudget();
const compiled = new WeakMap<RegexMatch, Regex>();

/**
 * Whether an expression matches the whole text. Undefined: that cannot be found out, within the time budget or at all.
 * @param policyNamespace of the policy
 * @param clientNamespace empty: the client has no identity
 */
export function policyRegex(
  policyNamespace: string,
  clientNamespace: string,
  match: RegexMatch,
  text: string,
): boolean | undefined {
  let regex = compiled.get(match);
  if (!regex) compiled.set(match, (regex = new Regex(match.value, current)));
  current.set(policyNamespace, clientNamespace);
  try {
    const found = regex.test(text);
    return regex.isReadable ? found : undefined;
  } catch (error) {
    if (error instanceof RegexCost) return undefined;
    throw error;
  }
}
