/** One file's objects, and what is wrong with it: each object stands and falls alone, as with kubectl. Pure. */
import type { ErrorObject } from 'ajv';
import { readManifests, type Manifest, type Path } from '../../src/kubernetes/manifests.js';
import type { MeshObject } from '../objects/objects.js';
import { slicesOf, type EndpointsManifest } from './endpoints.js';
import { kinds, pickFields } from '../kinds/kinds.js';
import { recognize, type FileKind } from './recognize.js';
import { compileErrorOf, messageOf, ownKinds, readObject, validatorOf } from './validate.js';

export interface FileError {
  readonly file: string;
  readonly line: number;
  readonly field: string;
  readonly message: string;
  /** All is in force that it is about: there is only something to know. */
  readonly isWarning?: true;
}
/** One line. Errors of a whole file or document have no field, those of a file that cannot be opened no line either. */
export const fileErrorText = ({ file, line, field, message }: FileError): string =>
  `${file}${line > 0 ? `:${line}` : ''}: ${field === '' ? '' : `${field}: `}${message}`;

/** An object that says nothing to the mesh. */
export interface Unused {
  readonly kind: string;
  readonly apiVersion: string;
  readonly line: number;
}

/** What becomes of an object with an error, as the end of a message to its author. */
export const refusedMeans =
  'the last valid content of the object stays in force; a policy that had none denies all traffic to what it selects';

const unusedKindsMax = 20;
/** `2 Deployment (apps/v1), 1 ConfigMap (v1)` */
export function unusedText(unused: readonly Unused[]): string {
  const counts = new Map<string, number>();
  for (const { kind, apiVersion } of unused) {
    const name = `${kind.slice(0, 64)} (${apiVersion === '' ? 'no apiVersion' : apiVersion.slice(0, 128)})`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const shown = [...counts].slice(0, unusedKindsMax).map(([name, count]) => `${count} ${name}`);
  const left = counts.size - shown.length;
  return [...shown, ...(left > 0 ? [`and ${left} kinds more`] : [])].join(', ');
}

export interface Parsed {
  readonly objects: MeshObject[];
  readonly errors: FileError[];
  /** In the place of objects that cannot be read: their closed forms, of kinds that have one. */
  readonly closed: MeshObject[];
  /** The first error after which it is not known what the file closes. */
  readonly unreadable?: FileError;
  readonly isUnreadable: boolean;
  readonly unused: readonly Unused[];
  /** Lines of `objects`. */
  readonly lines: ReadonlyMap<MeshObject, number>;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** A field of a built-in kind that is null is as if it were not there. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, one]) => (one === null ? [] : [[key, withoutNulls(one)]])),
  );
}

const isBuiltIn = (kind: FileKind): boolean =>
  kind === 'Endpoints' || ['', 'discovery.k8s.io'].includes(kinds[kind].address.group);

/** Of custom kinds the API server reads null as a value, but for their metadata. */
function asServed(
  kind: FileKind,
  value: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  if (isBuiltIn(kind)) return withoutNulls(value) as Readonly<Record<string, unknown>>;
  return isRecord(value['metadata']) ? { ...value, metadata: withoutNulls(value['metadata']) } : value;
}

/**
 * With numbers and booleans among its labels and annotations as text. Kinds that close nothing by themselves close by labels: without its
 * Namespace no pod of a strict namespace would be in the mesh, since one label of it is a number.
 */
function withTextLabels(object: MeshObject): MeshObject {
  const metadata: Readonly<Record<string, unknown>> = { ...object.metadata };
  const asText = (field: string): object => {
    const values = metadata[field];
    return isRecord(values)
      ? {
          [field]: Object.fromEntries(
            Object.entries(values).map(([key, one]) => [
              key,
              typeof one === 'number' || typeof one === 'boolean' ? String(one) : one,
            ]),
          ),
        }
      : {};
  };
  return {
    ...object,
    metadata: { ...metadata, ...asText('labels'), ...asText('annotations') },
  } as unknown as MeshObject;
}

class Parser implements Parsed {
  readonly objects: MeshObject[] = [];
  readonly errors: FileError[] = [];
  readonly closed: MeshObject[] = [];
  readonly unused: Unused[] = [];
  readonly lines = new Map<MeshObject, number>();
  unreadable?: FileError;
  get isUnreadable(): boolean {
    return this.unreadable !== undefined;
  }

  constructor(private readonly file: string) {}

  take(manifest: Manifest): void {
    const { value, lineOf } = manifest;
    const found = recognize(isRecord(value) ? value : {}, ownKinds());
    if (found.as === 'unused') {
      this.unused.push({ kind: found.kind, apiVersion: found.apiVersion, line: lineOf([]) });
      return;
    }
    if (found.as === 'read') {
      this.#read(found.kind, asServed(found.kind, value as Readonly<Record<string, unknown>>), manifest);
      return;
    }
    const { field, message, mayClose } = found;
    this.error(lineOf([field]), field, message, mayClose);
  }

  #read(kind: FileKind, value: Readonly<Record<string, unknown>>, manifest: Manifest): void {
    const validate = validatorOf(kind);
    if (validate && !validate(value)) {
      const named = isNamed(value);
      for (const error of validate.errors ?? [])
        this.#explain(error, manifest, !named && kind === 'AccessPolicy');
      if (named) this.#close(value as unknown as MeshObject);
      return;
    }
    for (const object of objectsOf(kind, value)) {
      const wrong = compileErrorOf(object);
      if (wrong === undefined) {
        this.objects.push(object);
        this.lines.set(object, manifest.lineOf([]));
        continue;
      }
      this.error(manifest.lineOf([]), `${kind}/${object.metadata.name}`, wrong);
      this.#close(object);
    }
  }

  #close(object: MeshObject): void {
    if (object.kind === 'EndpointSlice') return;
    const taken = readObject(object).object ?? readObject(withTextLabels(object)).object;
    if (taken) this.closed.push(taken);
  }

  /** @param mayClose it is not known what is wrong, and so what it closes */
  error(line: number, field: string, message: string, mayClose = false): void {
    const error = { file: this.file, line, field, message };
    this.errors.push(error);
    if (mayClose) this.unreadable ??= error;
  }

  #explain(error: ErrorObject, { lineOf, plainTextAt }: Manifest, mayClose: boolean): void {
    const path = error.instancePath
      .split('/')
      .slice(1)
      .map((part) => (/^\d+$/.test(part) ? Number(part) : part.replace(/~1/g, '/').replace(/~0/g, '~')));
    const extra = error.params as {
      additionalProperty?: string;
      missingProperty?: string;
      allowedValues?: unknown[];
      type?: string;
    };
    const field: Path = [...path, ...(extra.additionalProperty ? [extra.additionalProperty] : [])];
    const allowed = extra.allowedValues ? `: ${extra.allowedValues.join(', ')}` : '';
    const written =
      error.keyword === 'type' && extra.type === 'string' && error.data !== null
        ? plainTextAt(path)
        : undefined;
    const quoted =
      written === undefined
        ? ''
        : `: ${written} is a ${typeof error.data} in YAML, write ${JSON.stringify(written)}`;
    this.error(
      lineOf(field),
      field.join('.') || (extra.missingProperty ?? ''),
      `${messageOf(error)}${allowed}${quoted}`,
      mayClose,
    );
  }
}

/** In the form that is compiled; none where it says nothing to the mesh. */
function objectsOf(kind: FileKind, value: Readonly<Record<string, unknown>>): MeshObject[] {
  const slices =
    kind === 'Endpoints'
      ? slicesOf(value as unknown as EndpointsManifest)
      : kind === 'EndpointSlice'
        ? [value]
        : undefined;
  if (!slices) return [value as unknown as MeshObject];
  return slices.flatMap((slice) => pickFields('EndpointSlice', slice) ?? []);
}

const isNamed = (value: object): boolean => {
  const { metadata } = value as { metadata?: { name?: unknown; namespace?: unknown } | null };
  const { name, namespace = 'default' } = metadata ?? {};
  return typeof name === 'string' && name !== '' && typeof namespace === 'string';
};

/** Never throws. Kinds of other groups that Weft does not read are named in `unused`. */
export function parseManifests(file: string, text: string): Parsed {
  const parser = new Parser(file);
  const { manifests, errors } = readManifests(text);
  for (const { line, message } of errors) parser.error(line, '', message, true);
  for (const manifest of manifests) parser.take(manifest);
  parser.errors.sort((a, b) => a.line - b.line);
  return parser;
}
