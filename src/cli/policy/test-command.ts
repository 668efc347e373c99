/** `weft policy test`: tables of cases for policies, without a mesh. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { jsonOption } from '../place.js';
import { errorText, WeftError } from '../../base/errors.js';
import { systemNamespace } from '../cluster/system-namespace.js';
import { table } from '../cluster/table.js';
import { badInput } from './bad-input.js';
import { manifestMesh } from './meshes.js';
import { PolicyMesh } from './policy-mesh.js';
import { runCase, type CaseResult } from './run-test.js';
import { readPolicyTest } from './test-file.js';

interface FileResult {
  readonly file: string;
  readonly cases: readonly CaseResult[];
}

function runFile(file: string): FileResult {
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    throw new WeftError('WEFT_SOURCE_MISSING', errorText(error), { cause: error });
  }
  const read = readPolicyTest(file, content);
  if (!read.ok) throw new WeftError('WEFT_POLICY_TEST', read.errors.join('\n'));
  const { manifests, rootNamespace = systemNamespace, cases } = read.value;
  const paths = manifests.map((path) => resolve(dirname(file), path));
  const { errors, after } = manifestMesh(paths, rootNamespace);
  if (errors.length > 0) throw new WeftError('WEFT_POLICY_TEST', errors.join('\n'));
  const mesh = new PolicyMesh(after);
  return { file, cases: cases.map((one) => runCase(mesh, one)) };
}

const deciderOf = ({ by, policy, rule }: CaseResult): string =>
  [by, policy, ...(rule === undefined ? [] : [`rule ${rule}`])].filter((one) => one !== '').join(' ');

function* lines(results: readonly FileResult[]): Generator<string> {
  for (const { file, cases } of results) {
    yield `${file}:`;
    yield* table([
      ['', 'CASE', 'EXPECTED', 'GOT', 'DECIDED BY', 'WHY'],
      ...cases.map((one) => [
        one.passed ? 'ok' : 'FAIL',
        one.name,
        one.expected,
        one.got,
        deciderOf(one),
        one.audited.length > 0 ? `${one.why}; in audit mode: ${one.audited.join(', ')}` : one.why,
      ]),
    ]);
  }
  const all = results.flatMap(({ cases }) => cases);
  const failed = all.filter(({ passed }) => !passed).length;
  yield failed === 0 ? `${all.length} cases passed` : `${failed} of ${all.length} cases failed`;
}

export function testCommand(): Command {
  return jsonOption(
    new Command('test')
      .description('test policies against tables of cases; no cluster is needed')
      .argument('<files...>', 'YAML files with manifests and cases'),
  )
    .addHelpText('after', '\nExit codes: 0 all cases passed, 1 a case failed, 2 a file cannot be read.')
    .action(
      badInput((files: string[], { json }: { json?: boolean }) => {
        const results = files.map(runFile);
        const passed = results.every(({ cases }) => cases.every((one) => one.passed));
        console.log(json ? JSON.stringify({ passed, files: results }) : [...lines(results)].join('\n'));
        process.exitCode = passed ? 0 : 1;
      }),
    );
}
