import { join } from 'node:path';
import { ESLint, type Linter } from 'eslint';
import { projectRoot } from '../../native/index.js';

/**
 * Messages of one ESLint rule for `code`, linted as the content of `file` (path from the project's root). `options`: options of the rule,
 * replacing the project's.
 */
export async function complaints(
  ruleId: string,
  file: string,
  code: string,
  options?: readonly unknown[],
): Promise<string[]> {
  const overrideConfig: Linter.Config[] = [{ rules: { [ruleId]: ['error', ...(options ?? [])] } }];
  const eslint = new ESLint({ cwd: projectRoot, ...(options ? { overrideConfig } : {}) });
  const [result] = await eslint.lintText(code, { filePath: join(projectRoot, file) });
  return (result?.messages ?? [])
    .filter((message) => message.ruleId === ruleId)
    .map(({ message }) => message);
}
