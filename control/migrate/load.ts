/** Reads what `weft migrate` works on: manifests as text, with the control plane's own parser, and Linkerd's objects beside them. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import { readStandardInput, standardInput, standardInputName } from '../../src/base/standard-input.js';
import {
  absentText,
  isManifest,
  manifestBytesMax,
  readManifests,
  type Path,
} from '../../src/kubernetes/manifests.js';
import type { MeshObject } from '../objects/objects.js';
import { templatePod } from '../pod-templates.js';
import type { ManifestText } from '../problems/manifest-findings.js';
import { parseRead } from '../source/parse.js';
import type { Unread } from '../../src/state/snapshot.js';
import type { FileProblem } from './report.js';
import { isRecord } from '../../src/base/record.js';

export type Fields = Readonly<Record<string, unknown>>;
/** The fields of a value, or none. */
export const fieldsOf = (value: unknown): Fields => (isRecord(value) ? value : {});
/** The entries of a list that are objects. */
export const listOf = (value: unknown): readonly Fields[] =>
  Array.isArray(value) ? value.filter(isRecord) : [];
/** The texts of a list. */
export const textsOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
export const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

/** An object as it was written. */
export interface SourceObject {
  readonly value: Fields;
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace: string;
  readonly name: string;
  /** Absent: from a cluster. */
  readonly file?: string;
  readonly line: number;
  readonly lineOf: (path: Path) => number;
  /** Errors of the control plane's parser: the object is not in force as written. */
  readonly errors: readonly string[];
  /** The object as the control plane reads it, if it is valid. */
  readonly object?: MeshObject;
}
export interface Loaded {
  readonly sources: readonly SourceObject[];
  /** What the control plane compiles: valid objects, closed forms, and a pod of each template. */
  readonly objects: readonly MeshObject[];
  readonly problems: readonly FileProblem[];
  /** What could not be read although it counts for the mesh. */
  readonly unread?: readonly Unread[];
}

export const groupOf = (apiVersion: string): string =>
  apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';

/** Actions of Helm's templates. Other tools use braces, too: alerts have `{{ $value }}`. */
const helmAction =
  /\{\{-?\s*(?:\.(?:Values|Release|Chart|Capabilities|Files|Template)\b|(?:if|else|end|range|with|include|define|template|tpl|toYaml|nindent|fail)\b)/;

function* filesBelow(path: string): Generator<string> {
  if (!statSync(path).isDirectory()) {
    yield path;
    return;
  }
  const entries = readdirSync(path, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith('.') && name !== 'node_modules')
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries)
    if (entry.isDirectory()) yield* filesBelow(join(path, entry.name));
    else if (isManifest(entry.name)) yield join(path, entry.name);
}

/** The texts of manifest files, subdirectories included; `-` is standard input. Error: WEFT_SOURCE_MISSING if a path cannot be read, or there is no manifest. */
export function migrateTexts(paths: readonly string[]): ManifestText[] {
  let texts: ManifestText[];
  const absent = paths.find((path) => path !== standardInput && !existsSync(path));
  if (absent !== undefined) throw new WeftError('WEFT_SOURCE_MISSING', absentText(absent));
  try {
    texts = paths
      .flatMap((path) => (path === standardInput ? [path] : [...filesBelow(path)]))
      .map((file) =>
        file === standardInput
          ? { file: standardInputName, text: readStandardInput() }
          : { file, text: readFileSync(file, 'utf8') },
      );
  } catch (error) {
    throw new WeftError('WEFT_SOURCE_MISSING', errorText(error), { cause: error });
  }
  if (texts.length === 0)
    throw new WeftError(
      'WEFT_SOURCE_MISSING',
      `${paths.join(' ')}: there is no manifest: pass files, or directories of files whose names end in .yaml, .yml or .json`,
    );
  return texts;
}

/** Why a file is not read at all; undefined: it is read. */
function refusedBecause({ text }: ManifestText): string | undefined {
  if (text.length > manifestBytesMax) return `it has more than ${manifestBytesMax} bytes`;
  const action = helmAction.exec(text)?.[0];
  return action === undefined
    ? undefined
    : `it is a Helm template (${action.replace(/\s+/g, ' ')} …), and its objects depend on values: render it first, helm template NAME CHART > rendered.yaml`;
}

const isNamed = (value: Fields): boolean => textOf(fieldsOf(value['metadata'])['name']) !== undefined;

/** Describes an object as written. */
export function sourceObject(
  value: Fields,
  rest: Pick<SourceObject, 'line' | 'lineOf' | 'errors'> & Partial<Pick<SourceObject, 'file' | 'object'>>,
): SourceObject {
  const metadata = fieldsOf(value['metadata']);
  return {
    value,
    kind: textOf(value['kind']) ?? '',
    apiVersion: textOf(value['apiVersion']) ?? '',
    namespace: textOf(metadata['namespace']) ?? 'default',
    name: textOf(metadata['name']) ?? '',
    ...rest,
  };
}

function loadFile(given: ManifestText): Loaded {
  const { file, text } = given;
  const refused = refusedBecause(given);
  if (refused !== undefined)
    return { sources: [], objects: [], problems: [{ file, line: 0, message: refused }] };
  const read = readManifests(text);
  const { manifests } = read;
  const parsed = parseRead(file, read);
  const problems: FileProblem[] = [];
  // Helm's Chart.yaml and values files are YAML without being objects.
  const found = manifests.flatMap(({ value, lineOf }) =>
    isRecord(value) && ('kind' in value || 'apiVersion' in value)
      ? [{ value, lineOf, line: lineOf([]), errors: [] as string[] }]
      : [],
  );
  const noObjects = new Set(
    manifests.flatMap(({ value, lineOf }) =>
      isRecord(value) && ('kind' in value || 'apiVersion' in value) ? [] : [lineOf(['kind'])],
    ),
  );
  for (const { line, field, message } of parsed.errors) {
    const owner = found.findLast((one) => one.line <= line);
    // A document that is no YAML has no field.
    if (field === '' || !owner) {
      if (!(noObjects.has(line) && field === 'kind')) problems.push({ file, line, message });
    } else if (!(noObjects.has(line) && field === 'kind')) owner.errors.push(`${field}: ${message}`);
  }
  const byPlace = new Map(
    parsed.objects.map((object) => [
      `${parsed.lines.get(object) ?? 0} ${object.metadata.namespace ?? ''}/${object.metadata.name}`,
      object,
    ]),
  );
  const sources = found.map((one): SourceObject => {
    const { namespace, name } = fieldsOf(one.value['metadata']);
    const object = byPlace.get(`${one.line} ${textOf(namespace) ?? ''}/${textOf(name) ?? ''}`);
    return sourceObject(one.value, { ...one, file, ...(object ? { object } : {}) });
  });
  return { sources, objects: [...parsed.objects, ...parsed.closed], problems };
}

/**
 * Reads manifests. Pure.
 * @param podsBefore number of objects read before: addresses of pods made of templates are unique within one mesh
 */
export function loadTexts(texts: readonly ManifestText[], podsBefore = 0): Loaded {
  const files = texts.map(loadFile);
  const sources = files.flatMap((one) => one.sources);
  return {
    sources,
    objects: [...files.flatMap((one) => one.objects), ...templatePods(sources, podsBefore)],
    problems: files.flatMap((one) => one.problems),
  };
}

/** A pod of each object that makes pods: policies select it. */
const templatePods = (sources: readonly SourceObject[], before: number): MeshObject[] =>
  sources.flatMap(({ value }, index) =>
    isNamed(value) ? (templatePod(value, before + index + 1) ?? []) : [],
  );
