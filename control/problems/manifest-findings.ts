/** The findings of `weft check -f` about manifests that are not applied yet: the same as those about a cluster. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, WeftError } from '../../src/base/errors.js';
import { readStandardInput, standardInput, standardInputName } from '../../src/base/standard-input.js';
import { auditFindings } from '../../src/findings/audit.js';
import type { Finding } from '../../src/findings/finding.js';
import { keyFindings } from '../../src/findings/keys.js';
import { checkedPolicy } from '../../src/findings/istio-policies.js';
import { policyFindings } from '../../src/findings/policies.js';
import { waypointFindings } from '../../src/findings/waypoints.js';
import { isManifest, readManifests } from '../../src/kubernetes/manifests.js';
import { parseTrustDomain } from '../../src/model/identity.js';
import { compile } from '../compile/compile.js';
import { keyText } from '../objects/object-key.js';
import { unenforcedObjects } from './unenforced.js';
import { makesPods, templatePod } from '../pod-templates.js';
import { fileErrorText, parseManifests, refusedMeans, unusedText } from '../source/parse.js';
import { duplicateObjects } from '../source/duplicates.js';

export interface ManifestText {
  readonly file: string;
  readonly text: string;
}

/**
 * The texts of manifest files, in the order in which the control plane reads them. Error: WEFT_SOURCE_MISSING if a path cannot be read.
 * @param paths files, directories of files, or `-` for standard input
 */
export function manifestTexts(paths: readonly string[]): ManifestText[] {
  try {
    return paths.flatMap((path) => {
      if (path === standardInput) return [{ file: standardInputName, text: readStandardInput() }];
      const files = statSync(path).isDirectory()
        ? readdirSync(path)
            .filter(isManifest)
            .sort()
            .map((name) => join(path, name))
        : [path];
      return files.map((file) => ({ file, text: readFileSync(file, 'utf8') }));
    });
  } catch (error) {
    throw new WeftError('WEFT_SOURCE_MISSING', errorText(error), { cause: error });
  }
}

/** The findings about manifests. Pure. @param root the namespace whose policies apply to the whole mesh */
export function manifestFindings(texts: readonly ManifestText[], root: string): Finding[] {
  if (texts.length === 0)
    return [
      {
        level: 'fail',
        what: 'there is no manifest',
        help: 'pass files, or directories of files whose names end in .yaml, .yml or .json; subdirectories are not read',
      },
    ];
  const files = texts.map(({ file, text }) => ({ file, parsed: parseManifests(file, text) }));
  const findings: Finding[] = [];
  for (const { file, parsed } of files) {
    for (const error of parsed.errors)
      findings.push({ level: 'fail', what: fileErrorText(error), help: `correct it: ${refusedMeans}` });
    const unused = parsed.unused.filter((one) => !makesPods(one));
    if (unused.length > 0)
      findings.push({ level: 'ok', what: `${file}: not used by Weft: ${unusedText(unused)}` });
  }
  for (const error of duplicateObjects(
    files.map(({ file, parsed }) => [file, parsed.lines] as const),
  ).values())
    findings.push({ level: 'warn', what: fileErrorText(error), help: 'remove one of the two' });
  const objects = files.flatMap(({ parsed }) => [...parsed.objects, ...parsed.closed]);
  const ofTemplates = texts
    .flatMap(({ text }) => readManifests(text).manifests)
    .flatMap(({ value }, index) => templatePod(value, index + 1) ?? []);
  const compiler = compile([...objects, ...ofTemplates], {
    trustDomain: parseTrustDomain('cluster.local'),
    rootsVersion: '',
    rootNamespace: root,
  });
  const [namespaces, pods, services] = [
    [...compiler.ofKind('Namespace')],
    [...compiler.ofKind('Pod')],
    [...compiler.ofKind('Service')],
  ];
  findings.push(
    ...keyFindings('Namespace', namespaces),
    ...keyFindings('Pod', pods),
    ...keyFindings('Service', services),
    ...keyFindings('MeshSettings', [...compiler.ofKind('MeshSettings')]),
    ...(['Gateway', 'HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute'] as const).flatMap((kind) =>
      keyFindings(kind, [...compiler.ofKind(kind)]),
    ),
    ...auditFindings(namespaces, [...compiler.ofKind('MeshSettings')], root),
    ...waypointFindings({
      gateways: [...compiler.ofKind('Gateway')],
      classes: [...compiler.ofKind('GatewayClass')],
      namespaces,
      services,
    }),
    ...policyFindings(
      {
        // Policies that cannot be read have been reported as errors.
        policies: [
          ...[...compiler.ofKind('AccessPolicy')].filter(({ invalid }) => invalid === undefined),
          ...[...compiler.ofKind('AuthorizationPolicy')].flatMap((one) =>
            one.invalid === undefined ? (checkedPolicy(one) ?? []) : [],
          ),
        ],
        workloads: [...compiler.ofKind('Workload')],
        namespaces,
        pods,
        services,
      },
      root,
    ),
  );
  for (const [key, { message }] of compiler.problems())
    findings.push({
      level: 'fail',
      what: `${keyText(key)}: ${message}`,
      help: 'it is not in force as it is written: correct it',
    });
  for (const { what, isAccepted, help = 'no waypoint enforces it as written' } of unenforcedObjects(compiler))
    findings.push(
      isAccepted
        ? { level: 'warn', what, help }
        : { level: 'fail', what, help: 'it is not in force as it is written: correct it' },
    );
  if (findings.every(({ level }) => level === 'ok'))
    findings.push({
      level: 'ok',
      what: `${objects.length + ofTemplates.length} objects of ${texts.length} files are valid`,
    });
  return findings;
}
