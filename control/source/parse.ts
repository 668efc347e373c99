/** Parses one manifest file into objects and errors. Each object is accepted or refused by itself, as with kubectl. Pure. */
import type { ErrorObject } from 'ajv';
import { nearest } from '../../src/base/nearest.js';
import { readManifests, type Manifest, type Path } from '../../src/kubernetes/manifests.js';
import { certificatesKey, isIstio, type MeshObject } from '../objects/objects.js';
import { slicesOf, type EndpointsManifest } from './endpoints.js';
import { kinds, pickFields } from '../kinds/kinds.js';
import { isClosing, recognize, type FileKind } from './recognize.js';
import { compileErrorOf, messageOf, ownKinds, readObject, validatorOf } from './validate.js';
import { isRecord } from '../../src/base/record.js';

export interface FileError {
  readonly file: string;
  readonly line: number;
  readonly field: string;
  readonly message: string;
  /** The object is in force; the message is only a warning. */
  readonly isWarning?: true;
}
/** One line of text. An error of a whole file or document has no field; an error of a file that cannot be opened has no line either. */
export const fileErrorText = ({ file, line, field, message }: FileError): string =>
  `${file}${line > 0 ? `:${line}` : ''}: ${field === '' ? '' : `${field}: `}${message}`;

/** An object that Weft does not use. */
export interface Unused {
  readonly kind: string;
  readonly apiVersion: string;
  readonly line: number;
}

/** The effect of an error on its object, as the end of a message to its author. */
export const refusedMeans =
  'the last valid content of the object stays in force; without any, an AccessPolicy or AuthenticationPolicy (AuthorizationPolicy, RequestAuthentication) denies all traffic to what it selects, and a TrafficPolicy refuses requests if a section that restricts is wrong';

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
  return [...shown, ...(left > 0 ? [`and ${left} more kinds`] : [])].join(', ');
}

export interface Parsed {
  readonly objects: MeshObject[];
  readonly errors: FileError[];
  /** Closed forms of the objects that cannot be read, for kinds that have one. */
  readonly closed: MeshObject[];
  /** The first error that may hide a policy, because the object or document behind it is unknown. */
  readonly unreadable?: FileError;
  readonly isUnreadable: boolean;
  readonly unused: readonly Unused[];
  /** The line of each of `objects`. */
  readonly lines: ReadonlyMap<MeshObject, number>;
}

/** In built-in kinds a null field counts as absent. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, one]) => (one === null ? [] : [[key, withoutNulls(one)]])),
  );
}

const isBuiltIn = (kind: FileKind): boolean =>
  kind === 'Endpoints' || ['', 'discovery.k8s.io'].includes(kinds[kind].address.group);

/** The object as the API server would read it: in custom kinds null is a value, except in the metadata. */
function asServed(
  kind: FileKind,
  value: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  if (isBuiltIn(kind)) return withoutNulls(value) as Readonly<Record<string, unknown>>;
  return isRecord(value['metadata']) ? { ...value, metadata: withoutNulls(value['metadata']) } : value;
}

/**
 * The object with numbers and booleans in its labels and annotations converted to text. Labels of kinds without a closed form protect, too:
 * if one numeric label made a strict Namespace unreadable, none of its pods would be in the mesh.
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
    // Only ConfigMaps with certificates concern the mesh.
    if (found.as === 'read' && found.kind === 'ConfigMap' && !hasCertificates(value)) {
      const { apiVersion } = value as { apiVersion?: unknown };
      this.unused.push({
        kind: found.kind,
        apiVersion: typeof apiVersion === 'string' ? apiVersion : '',
        line: lineOf([]),
      });
      return;
    }
    if (found.as === 'read') {
      const object = { ...(value as Readonly<Record<string, unknown>>), kind: found.kind };
      this.#read(found.kind, asServed(found.kind, object), manifest);
      return;
    }
    const { field, message, mayClose } = found;
    this.error(lineOf([field]), field, message, mayClose);
  }

  #read(kind: FileKind, value: Readonly<Record<string, unknown>>, manifest: Manifest): void {
    const validate = validatorOf(kind);
    if (validate && !validate(value)) {
      const named = isNamed(value);
      for (const error of validate.errors ?? []) this.#explain(error, manifest, !named && isClosing(kind));
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

  /** @param mayClose the error may hide a policy, because the object behind it is unknown */
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
    const known = extra.additionalProperty === undefined ? '' : knownFields(error, path);
    const written =
      error.keyword === 'type' && extra.type === 'string' && error.data !== null
        ? plainTextAt(path)
        : undefined;
    this.error(
      lineOf(field),
      field.join('.') || (extra.missingProperty ?? ''),
      written === undefined ? `${messageOf(error)}${allowed}${known}` : unquotedText(error, written),
      mayClose,
    );
  }
}

/** `: the fields here are a, b (did you mean a?)` */
function knownFields({ params, parentSchema }: ErrorObject, path: Path): string {
  const { additionalProperty: wrong } = params as { additionalProperty: string };
  const fields = Object.keys((parentSchema as { properties?: object } | undefined)?.properties ?? {});
  if (fields.length === 0) return '';
  const meant = nearest(wrong, fields);
  const hint =
    meant !== undefined
      ? `did you mean ${meant}?`
      : wrong === 'true' || wrong === 'false'
        ? `${wrong === 'true' ? 'on, yes and true' : 'off, no and false'} without quotes are a boolean in YAML`
        : wrong === 'namespace' && path.includes('targetRefs')
          ? 'a target is in the namespace of the policy'
          : undefined;
  return `: the fields here are ${fields.join(', ')}${hint === undefined ? '' : ` (${hint})`}`;
}

/** Text is required, and a number or a boolean was written. Quotes are not enough if the text has a form that this one lacks. */
function unquotedText(error: ErrorObject, written: string): string {
  const is = `${written} is a ${typeof error.data} in YAML`;
  const { pattern, title } = (error.parentSchema ?? {}) as { pattern?: string; title?: string };
  return pattern !== undefined && title !== undefined && !new RegExp(pattern, 'u').test(written)
    ? `must be ${title}: ${is}`
    : `${messageOf(error)}: ${is}, write ${JSON.stringify(written)}`;
}

/** The objects to compile. Empty if the object does not concern the mesh. */
function objectsOf(kind: FileKind, value: Readonly<Record<string, unknown>>): MeshObject[] {
  const slices =
    kind === 'Endpoints'
      ? slicesOf(value as unknown as EndpointsManifest)
      : kind === 'EndpointSlice'
        ? [value]
        : undefined;
  // In Istio an object without a spec has an empty one, which means something.
  if (!slices && isIstio({ kind })) return [{ spec: {}, ...value } as unknown as MeshObject];
  if (!slices) return [value as unknown as MeshObject];
  return slices.flatMap((slice) => pickFields('EndpointSlice', slice) ?? []);
}

const hasCertificates = (value: unknown): boolean => {
  const data = isRecord(value) ? value['data'] : undefined;
  return isRecord(data) && certificatesKey in data;
};

const isNamed = (value: object): boolean => {
  const { metadata } = value as { metadata?: { name?: unknown; namespace?: unknown } | null };
  const { name, namespace = 'default' } = metadata ?? {};
  return typeof name === 'string' && name !== '' && typeof namespace === 'string';
};

/** Parses a manifest file. Never throws. Kinds of other API groups that Weft does not read are listed in `unused`. */
export const parseManifests = (file: string, text: string): Parsed => parseRead(file, readManifests(text));

/** As `parseManifests`, of a text that was read. */
export function parseRead(file: string, { manifests, errors }: ReturnType<typeof readManifests>): Parsed {
  const parser = new Parser(file);
  for (const { line, message } of errors) parser.error(line, '', message, true);
  for (const manifest of manifests) parser.take(manifest);
  parser.errors.sort((a, b) => a.line - b.line);
  return parser;
}
