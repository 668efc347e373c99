import { join } from 'node:path';
import { ESLint } from 'eslint';
import { projectRoot } from '../../native/index.js';

/** Messages of one ESLint rule of the project for `code`, as if it stood in `file` (a path from the project's root). */
export async function complaints(ruleId: string, file: string, code: string): Promise<string[]> {
  const [result] = await new ESLint({ cwd: projectRoot }).lintText(code, {
    filePath: join(projectRoot, file),
  });
  return (result?.messages ?? [])
    .filter((message) => message.ruleId === ruleId)
    .map(({ message }) => message);
}
