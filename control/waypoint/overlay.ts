/** What users lay over what is rendered: a strategic merge, lists of what has names by those names, as kubectl patch does. Pure. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const directive = '$patch';

/** By what an item of a list is known, by the list's field (the API's patchMergeKey). */
const keys: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  volumes: ['name'],
  env: ['name'],
  imagePullSecrets: ['name'],
  volumeMounts: ['mountPath'],
  // Of containers, and of Services.
  ports: ['containerPort', 'port'],
  topologySpreadConstraints: ['topologyKey'],
  hostAliases: ['ip'],
};

const withoutDirective = (patch: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(patch).filter(([key]) => key !== directive));

function mergeList(base: readonly Json[], patch: readonly Json[], field: string): readonly Json[] {
  const items = [...base, ...patch];
  const key = (keys[field] ?? []).find((one) =>
    items.every((item) => isObject(item) && (item[one] !== undefined || item[directive] === 'replace')),
  );
  if (key === undefined) return patch;
  const changes = patch.filter(isObject);
  // `$patch: replace` stands alone among the items: the others are all there shall be.
  if (changes.some((item) => item[directive] === 'replace' && item[key] === undefined))
    return changes.filter((item) => item[key] !== undefined).map(withoutDirective);
  let merged = base.filter(isObject);
  for (const change of changes) {
    const at = merged.findIndex((item) => item[key] === change[key]);
    if (change[directive] === 'delete') merged = merged.filter((_item, index) => index !== at);
    else if (at < 0) merged.push(withoutDirective(change));
    else merged = merged.map((item, index) => (index === at ? overlay(item, change) : item));
  }
  return merged;
}

/** `null` takes a field away, and so does `$patch: delete`; `$patch: replace` puts the patch in the place of what was. */
export function overlay(base: JsonObject, patch: JsonObject): JsonObject {
  if (patch[directive] === 'replace') return withoutDirective(patch);
  const merged = new Map(Object.entries(base));
  for (const [field, value] of Object.entries(withoutDirective(patch))) {
    const before = merged.get(field);
    if (value === null || (isObject(value) && value[directive] === 'delete')) merged.delete(field);
    else if (isObject(value)) merged.set(field, overlay(isObject(before) ? before : {}, value));
    else if (Array.isArray(value) && Array.isArray(before))
      merged.set(field, mergeList(before as readonly Json[], value as readonly Json[], field));
    else merged.set(field, value);
  }
  return Object.fromEntries(merged);
}
