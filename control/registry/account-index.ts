/** Service accounts by the labels of their pods, and of their Workloads. */
import type { ClientMatch } from '../../src/discovery/gen/weft.js';
import { labelsOf, namespaceOf, type Labels } from '../../src/model/labels.js';
import type { PodObject, WorkloadObject } from '../objects/objects.js';

/** What gets certificates of a service account. */
type Client = PodObject | WorkloadObject;
const keyOf = ({ kind, metadata }: Client): string => `${kind} ${metadata.name}`;

interface Account {
  readonly match: ClientMatch;
  /** Labels of each pod, by its kind and name. */
  readonly pods: Map<string, Labels>;
}

export class AccountIndex {
  /** By `<namespace>/<service account>`. */
  readonly #accounts = new Map<string, Account>();
  /** Accounts by a label of one of their pods, with the number of those pods. */
  readonly #byLabel = new Map<string, Map<Account, number>>();

  set(pod: Client): void {
    const { namespace, serviceAccount, key } = accountOf(pod);
    let account = this.#accounts.get(key);
    if (!account)
      this.#accounts.set(key, (account = { match: { namespace, serviceAccount }, pods: new Map() }));
    account.pods.set(keyOf(pod), labelsOf(pod));
    for (const label of textsOf(labelsOf(pod))) {
      let of = this.#byLabel.get(label);
      if (!of) this.#byLabel.set(label, (of = new Map()));
      of.set(account, (of.get(account) ?? 0) + 1);
    }
  }

  delete(pod: Client): void {
    const { key } = accountOf(pod);
    const account = this.#accounts.get(key);
    if (!account?.pods.delete(keyOf(pod))) return;
    if (account.pods.size === 0) this.#accounts.delete(key);
    for (const label of textsOf(labelsOf(pod))) {
      const of = this.#byLabel.get(label);
      const left = (of?.get(account) ?? 0) - 1;
      if (left > 0) of?.set(account, left);
      else of?.delete(account);
      if (of?.size === 0) this.#byLabel.delete(label);
    }
  }

  /**
   * Accounts with pods that have all of the labels. `all`: those whose pods all have them. `some`: the others.
   * @param namespace undefined: any
   */
  with(labels: Labels, namespace: string | undefined): { all: ClientMatch[]; some: ClientMatch[] } {
    const found = { all: [] as ClientMatch[], some: [] as ClientMatch[] };
    const [first] = textsOf(labels);
    for (const { match, pods } of this.#byLabel.get(first ?? '')?.keys() ?? []) {
      if (namespace !== undefined && match.namespace !== namespace) continue;
      let having = 0;
      for (const own of pods.values())
        if (Object.entries(labels).every(([name, value]) => own[name] === value)) having++;
      if (having > 0) (having === pods.size ? found.all : found.some).push(match);
    }
    const byName = (a: ClientMatch, b: ClientMatch): number =>
      `${a.namespace}/${a.serviceAccount}` < `${b.namespace}/${b.serviceAccount}` ? -1 : 1;
    // The same objects in any order give the same resources.
    return { all: found.all.sort(byName), some: found.some.sort(byName) };
  }
}

const textsOf = (labels: Labels): string[] =>
  Object.entries(labels).map(([name, value]) => `${name}=${value}`);

/** What conditions on the labels of clients depend on. */
export const accountTextOf = (object: Client | undefined): string | undefined =>
  object && JSON.stringify([accountOf(object).serviceAccount, labelsOf(object)]);

function accountOf(pod: Client): { namespace: string; serviceAccount: string; key: string } {
  const namespace = namespaceOf(pod);
  const named = pod.kind === 'Pod' ? pod.spec.serviceAccountName : pod.spec.serviceAccount;
  const serviceAccount = named ?? 'default';
  return { namespace, serviceAccount, key: `${namespace}/${serviceAccount}` };
}
