/** Overlays on rendered objects: a strategic merge as in kubectl patch, where lists with merge keys are merged item by item. Pure. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const directive = '$patch';

/** Merge keys of list items (the API's patchMergeKey), by the list's field. */
const keys: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  volumes: ['name'],
  env: ['name'],
  imagePullSecrets: ['name'],
  volumeMounts: ['mountPath'],
  // containerPort in containers, port in Services.
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
  // An item that is only `$patch: replace` makes the other items replace the whole list.
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

/** Merges `patch` into `base`. `null` and `$patch: delete` remove a field; `$patch: replace` replaces the former value by the patch. */
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
