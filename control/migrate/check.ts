/** What Weft does with each object of another mesh, by the control plane's own code: parser, compiler and tables of fields. Pure. */
import { istioFieldTables } from '../dialects/istio/field-tables.js';
import { smiFieldTables } from '../dialects/smi/field-tables.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile, type Compiler } from '../compile/compile.js';
import { usedFields, type FieldTable } from '../dialects/fields.js';
import { effectText, fieldRemark, remarkText, type Remark } from '../dialects/remarks.js';
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

const results = {
  differs: 'differs',
  nothing: 'missing',
  closed: 'closed',
  unserved: 'missing',
  narrower: 'missing',
} as const;

/**
 * The remarks of a compiled object, those about fields with the first place of the field in the object. The remarks say what matters for this object,
 * and the table where it is.
 */
function remarkFindings(
  remarks: readonly Remark[],
  spec: unknown,
  table: FieldTable | undefined,
): MigrateFinding[] {
  const left = new Map(remarks.map((one) => [remarkText(one), one]));
  const placed = new Set<string>();
  const found: MigrateFinding[] = [];
  for (const used of table ? usedFields(spec, table) : []) {
    const remark = fieldRemark(used);
    const text = remark && remarkText(remark);
    if (!remark || text === undefined || !left.has(text) || placed.has(text)) continue;
    placed.add(text);
    found.push(findingOf({ ...remark, field: used.within.path }));
  }
  for (const [text, remark] of left)
    // A check fetches no keys.
    if (!placed.has(text) && !remark.message.endsWith(awaitsKeys)) found.push(findingOf(remark));
  return found;
}

function findingOf(remark: Remark): MigrateFinding {
  const { does, field, instead } = remark;
  return {
    result: results[does],
    ...(field === undefined ? {} : { field }),
    message: effectText(remark),
    ...(instead === undefined ? {} : { instead }),
  };
}

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
  if (failed)
    return [
      { result: 'missing', message: failed.message ?? '' },
      ...compiler.remarksOf(object).flatMap((one) => (one.does === 'narrower' ? [findingOf(one)] : [])),
    ];
  if (!kinds[object.kind].compile && !table)
    return [
      { result: 'missing', message: `this version of Weft does not carry out the kind ${object.kind}` },
    ];
  return [
    ...remarkFindings(compiler.remarksOf(object), spec, table),
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
    ];
    if (isLinkerd(group)) findings.push(...(linkerd.get(source) ?? [unknownKind(source)]));
    else if (object && (group === 'weft.dev' || group.startsWith('gateway.')))
      findings.push(...(unenforced.get(`${kind} ${namespace}/${name}`) ?? []));
    else if (object && isMesh) {
      findings.push(...dialectFindings(object, fieldTables[`${group}/${kind}`], compiler));
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
