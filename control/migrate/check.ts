/** What Weft does with each object of another mesh, by the control plane's own code: parser, compiler and tables of fields. Pure. */
import { istioFieldTables } from '../dialects/istio/field-tables.js';
import { smiFieldTables } from '../dialects/smi/field-tables.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile, type Compiler } from '../compile/compile.js';
import {
  isClosed,
  isUnserved,
  remarkOf,
  remarkParts,
  usedFields,
  type FieldTable,
  type UsedField,
} from '../dialects/fields.js';
import { kinds } from '../kinds/kinds.js';
import { objectKey } from '../objects/object-key.js';
import { awaitsKeys } from '../registry/key-sets.js';
import { acceptedType, type Condition, type MeshObject } from '../objects/objects.js';
import { unenforcedObjects } from '../problems/unenforced.js';
import { withAssumedServices } from './assumed.js';
import { linkerdFindings } from './linkerd/check.js';
import { groupOf, type Loaded, type SourceObject } from './load.js';
import { settingFindings } from './mesh-settings.js';
import { worstOf, type MigrateFinding, type MigrateReport, type ObjectReport } from './report.js';
import { waypointFindings } from './waypoint-findings.js';

const fieldTables = { ...istioFieldTables, ...smiFieldTables };

const isMeshGroup = (group: string): boolean =>
  /(^|\.)(istio\.io|linkerd\.io|smi-spec\.io)$/.test(group) ||
  group === 'weft.dev' ||
  /^gateway\.networking\.(x-)?k8s\.io$/.test(group);
const isLinkerd = (group: string): boolean => /(^|\.)linkerd\.io$/.test(group);

/**
 * The parts of a compiled object's remark, with the place of each field in the object. The remark says what matters for this object, and the
 * table what the remark's lines about fields mean.
 */
function remarkFindings(remark: string, spec: unknown, table: FieldTable | undefined): MigrateFinding[] {
  let left = remark;
  const found: MigrateFinding[] = [];
  for (const used of table ? usedFields(spec, table) : []) {
    const line = remarkOf([used]);
    const finding = findingOf(used);
    if (line === undefined || !finding || !left.includes(line)) continue;
    left = left.replace(line, '');
    found.push(finding);
  }
  // A check fetches no keys.
  const parts = remarkParts(left).filter((part) => !part.endsWith(awaitsKeys));
  return [...found, ...parts.map(fromRemark)];
}

/** The finding about a field; undefined: it works. */
function findingOf({ path, support }: Pick<UsedField, 'path' | 'support'>): MigrateFinding | undefined {
  if (support.does === 'works') return undefined;
  if (support.does === 'differs') return { result: 'differs', field: path, message: support.how };
  const instead = support.instead === undefined ? {} : { instead: support.instead };
  return support.does === 'nothing'
    ? { result: 'missing', field: path, message: `no effect: ${support.because}`, ...instead }
    : { result: 'closed', field: path, message: `closed: ${support.because}`, ...instead };
}

/** A part of a remark without an entry of the table. The words are those of remarkOf. */
const fromRemark = (message: string): MigrateFinding => ({
  result: isClosed(message)
    ? 'closed'
    : /(^|: )no effect(:|$)/.test(message) || isUnserved(message)
      ? 'missing'
      : 'differs',
  message,
});

/** The conditions that the control plane would write on the object. */
function conditionsOf(object: MeshObject, compiler: Compiler): readonly Condition[] {
  const { status: _written, ...bare } = object as MeshObject & { readonly status?: object };
  const update = kinds[object.kind].status?.(bare as MeshObject, { mesh: compiler, timestamp: '' });
  return (update?.status as { readonly conditions?: readonly Condition[] } | undefined)?.conditions ?? [];
}

function dialectFindings(
  object: MeshObject,
  table: FieldTable | undefined,
  compiler: Compiler,
): MigrateFinding[] {
  // The resources of some kinds of SMI have no spec.
  const {
    metadata: _metadata,
    kind: _kind,
    apiVersion: _version,
    ...fields
  } = object as MeshObject & { readonly apiVersion?: string };
  const { spec = fields } = object as { readonly spec?: unknown };
  if (compiler.object(objectKey(object)) !== object)
    return [
      {
        result: 'missing',
        message: `${objectKey(object)} is defined again, and the other definition is in force`,
      },
    ];
  const conditions = conditionsOf(object, compiler);
  const failed = conditions.find(({ type, status }) => type === acceptedType && status === 'False');
  if (failed) return [{ result: 'missing', message: failed.message ?? '' }];
  if (!kinds[object.kind].compile && !table)
    return [
      { result: 'missing', message: `this version of Weft does not carry out the kind ${object.kind}` },
    ];
  return [
    ...remarkFindings(compiler.remarkOf(object) ?? '', spec, table),
    ...conditions.flatMap(({ type, status, message = '' }): MigrateFinding[] =>
      type !== acceptedType && status === 'False' ? [{ result: 'missing', message }] : [],
    ),
  ];
}

/** Problems that `weft check` finds in objects of Weft and of the Gateway API, by object. */
function unenforcedByName(compiler: Compiler): ReadonlyMap<string, readonly MigrateFinding[]> {
  const found = new Map<string, MigrateFinding[]>();
  for (const { what } of unenforcedObjects(compiler)) {
    const [, name = '', message = ''] = /^(\S+ [^:]+): (.*)$/s.exec(what) ?? [];
    const known = found.get(name) ?? [];
    found.set(name, known);
    known.push({ result: 'missing', message });
  }
  return found;
}

const unknownKind = ({ apiVersion, kind }: SourceObject): MigrateFinding => ({
  result: 'missing',
  message: `Weft does not know the kind ${kind} of ${apiVersion}`,
});

const rootField = 'metadata.namespace';
/** Istio's default root namespace, and the kinds that count for the whole mesh there. */
const istioRoot = 'istio-system';
const meshWide: ReadonlySet<string> = new Set([
  'AuthorizationPolicy',
  'PeerAuthentication',
  'RequestAuthentication',
  'DestinationRule',
  'Sidecar',
  'Telemetry',
]);

function rootFindings({ kind, namespace, apiVersion }: SourceObject, root: string): MigrateFinding[] {
  if (namespace !== istioRoot || root === istioRoot || !meshWide.has(kind)) return [];
  if (!groupOf(apiVersion).endsWith('.istio.io')) return [];
  return [
    {
      result: 'missing',
      field: rootField,
      message: `${istioRoot} is Istio's root namespace, and ${root} is Weft's: the object counts for ${istioRoot} alone`,
      instead: `namespace: ${root}`,
    },
  ];
}

/**
 * Reports each object that configures a mesh.
 * @param root the namespace whose policies apply to the whole mesh
 */
export function migrateReport(loaded: Loaded, root: string): MigrateReport {
  const { objects, assumed } = withAssumedServices(loaded);
  const compiler = compile(objects, {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '',
    rootNamespace: root,
  });
  const unenforced = unenforcedByName(compiler);
  const linkerd = linkerdFindings(loaded.sources);
  const reports: ObjectReport[] = [];
  const others: Record<string, number> = {};
  for (const source of loaded.sources) {
    const { object, errors, kind, name, namespace } = source;
    const group = groupOf(source.apiVersion);
    const isMesh = isMeshGroup(group);
    const findings: MigrateFinding[] = [
      // The API server validates its own kinds, and fills fields in that a file lacks.
      ...(isMesh ? errors.map((message): MigrateFinding => ({ result: 'missing', message })) : []),
      ...settingFindings(source),
      ...rootFindings(source, root),
    ];
    if (isLinkerd(group)) findings.push(...(linkerd.get(source) ?? [unknownKind(source)]));
    else if (object && (group === 'weft.dev' || group.startsWith('gateway.')))
      findings.push(...(unenforced.get(`${kind} ${namespace}/${name}`) ?? []));
    else if (object && isMesh) {
      const isRootSaid = findings.some(({ field }) => field === rootField);
      const own = dialectFindings(object, fieldTables[`${group}/${kind}`], compiler);
      // The status says it, too.
      findings.push(
        ...own.filter(({ message }) => !(isRootSaid && message.includes('root namespace of this mesh'))),
      );
    } else if (isMesh && errors.length === 0 && !group.startsWith('gateway.'))
      findings.push(unknownKind(source));
    if (object?.kind === 'Service') findings.push(...waypointFindings(object, compiler));
    if (!isMesh && findings.length === 0) {
      const type = `${kind} (${source.apiVersion})`;
      others[type] = (others[type] ?? 0) + 1;
      continue;
    }
    reports.push(reportOf(source, findings));
  }
  return { objects: withoutReplicas(reports), problems: loaded.problems, assumed, others };
}

/** Pods of a namespace about which the same is said are one report: most are replicas of each other. */
function withoutReplicas(reports: readonly ObjectReport[]): ObjectReport[] {
  const first = new Map<string, ObjectReport>();
  const alike = new Map<ObjectReport, number>();
  for (const report of reports) {
    if (report.kind !== 'Pod') continue;
    const key = `${report.namespace} ${JSON.stringify(report.findings)}`;
    const known = first.get(key) ?? report;
    first.set(key, known);
    alike.set(known, (alike.get(known) ?? -1) + 1);
  }
  return reports.flatMap((report) => {
    const more = alike.get(report);
    if (report.kind !== 'Pod') return [report];
    return more === undefined ? [] : [more === 0 ? report : { ...report, alike: more }];
  });
}

function reportOf(source: SourceObject, findings: readonly MigrateFinding[]): ObjectReport {
  const { kind, apiVersion, namespace, name, file, line } = source;
  return {
    kind,
    apiVersion,
    ...(kind === 'Namespace' || kind === 'GatewayClass' ? {} : { namespace }),
    name,
    ...(file === undefined ? {} : { place: `${file}:${line}` }),
    result: worstOf(findings),
    findings,
  };
}
