/** Unknown values of Weft's labels and annotations, by object. Sole owner of this list. */
import {
  gatewayPolicyProblems,
  servicePolicyProblems,
  settingProblems,
  type SettingProblem,
} from '../../src/model/object-settings.js';
import type { ObjectKey } from '../objects/object-key.js';
import { namespaceOf } from '../../src/model/labels.js';
import type {
  GatewayObject,
  MeshObject,
  MeshSettingsObject,
  NamespaceObject,
  PodObject,
  ServiceObject,
} from '../objects/objects.js';

export interface ObjectProblems {
  readonly object: NamespaceObject | PodObject | ServiceObject | GatewayObject | MeshSettingsObject;
  readonly problems: readonly SettingProblem[];
}

/** Limit per namespace, so that one namespace cannot use up the memory for all. An object costs a few hundred bytes. */
const objectsOfNamespaceMax = 20;

export class SettingProblems {
  /** Namespace → object → its problems. */
  readonly #known = new Map<string, Map<ObjectKey, ObjectProblems>>();
  readonly #namespaces = new Map<ObjectKey, string>();
  /** @param onLimit called when an object's problems are not recorded because its namespace has reached the limit */
  constructor(private readonly onLimit: () => void) {}

  /**
   * Records the problems of changed objects.
   * @param changed objects by key; undefined: deleted
   * @returns objects with new or different problems
   */
  apply(changed: ReadonlyMap<ObjectKey, MeshObject | undefined>): readonly ObjectProblems[] {
    const fresh: ObjectProblems[] = [];
    for (const [key, object] of changed) {
      const problems = problemsOf(object);
      if (!object || !isChecked(object) || problems.length === 0) {
        this.#forget(key);
        continue;
      }
      const namespace = object.kind === 'Namespace' ? object.metadata.name : namespaceOf(object);
      let of = this.#known.get(namespace);
      if (!of) this.#known.set(namespace, (of = new Map()));
      const before = of.get(key);
      if (before && textOf(before.problems) === textOf(problems)) continue;
      if (!before && of.size >= objectsOfNamespaceMax) {
        this.onLimit();
        continue;
      }
      const entry = { object, problems };
      of.set(key, entry);
      this.#namespaces.set(key, namespace);
      fresh.push(entry);
    }
    return fresh;
  }

  *all(): Iterable<ObjectProblems> {
    for (const of of this.#known.values()) yield* of.values();
  }

  #forget(key: ObjectKey): void {
    const namespace = this.#namespaces.get(key);
    if (namespace === undefined) return;
    this.#namespaces.delete(key);
    const of = this.#known.get(namespace);
    of?.delete(key);
    if (of?.size === 0) this.#known.delete(namespace);
  }
}

const isChecked = (object: MeshObject): object is ObjectProblems['object'] =>
  ['Namespace', 'Pod', 'Service', 'Gateway', 'MeshSettings'].includes(object.kind);

function problemsOf(object: MeshObject | undefined): readonly SettingProblem[] {
  switch (object?.kind) {
    case 'Namespace':
    case 'Pod':
      return settingProblems(object.metadata);
    // Other keys of these kinds are reported by `weft check`.
    case 'Service':
      return servicePolicyProblems(object.metadata.annotations, object.spec.ports ?? []);
    case 'MeshSettings':
      return servicePolicyProblems(object.metadata.annotations);
    case 'Gateway':
      return gatewayPolicyProblems(object.metadata.annotations);
    default:
      return [];
  }
}

const textOf = (problems: readonly SettingProblem[]): string =>
  problems.map(({ message }) => message).join('\n');

/** Whether the author may rely on a protection that is not in force. */
export const isUnprotected = ({ problems }: ObjectProblems): boolean =>
  problems.some(({ isProtection }) => isProtection);

/** The problems of one object as text. */
export const problemText = ({ problems }: ObjectProblems): string =>
  problems.map(({ message }) => message).join('; ');

const nameOf = (object: ObjectProblems['object']): string =>
  object.kind === 'Namespace' || object.kind === 'MeshSettings'
    ? object.metadata.name
    : `${namespaceOf(object)}/${object.metadata.name}`;

/** The problems with the object's kind and name, for the log and `weft status`. */
export const problemLine = (found: ObjectProblems): string =>
  `${found.object.kind} ${nameOf(found.object)}: ${problemText(found)}`;
