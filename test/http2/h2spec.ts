/** h2spec: the conformance test of HTTP/2 servers. Built from the Go module proxy, with the versions of test/http2/h2spec/go.mod. */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { findGo } from '../../bench/load/fortio.js';
import { downloadDir } from '../../bench/peers/downloads.js';

const module = join(import.meta.dirname, '../../../test/http2/h2spec');

/** Builds h2spec where it is not there yet; returns its path. Throws if it cannot be built. */
export function buildH2spec(): string {
  const sources = createHash('sha256');
  for (const name of ['go.mod', 'go.sum']) sources.update(readFileSync(join(module, name)));
  const dir = join(downloadDir, `h2spec-${sources.digest('hex').slice(0, 12)}`);
  const path = join(dir, 'h2spec');
  if (existsSync(path)) return path;
  const unfinished = `${dir}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  try {
    execFileSync(
      findGo((text) => process.stderr.write(`${text}\n`)),
      ['build', '-ldflags', '-s -w', '-o', unfinished, 'github.com/summerwind/h2spec/cmd/h2spec'],
      {
        cwd: module,
        timeout: 600_000,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, GOTOOLCHAIN: 'local', CGO_ENABLED: '0' },
      },
    );
    rmSync(dir, { recursive: true, force: true });
    renameSync(unfinished, dir);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return path;
}

export interface H2specResult {
  readonly passed: number;
  /** What failed: the test's name, and what it expected and got. */
  readonly failed: ReadonlyMap<string, string>;
}

/** Runs all tests, the strict ones too, against a server that speaks HTTP/2 without TLS on loopback. `sections`: only these. */
export async function runH2spec(
  h2spec: string,
  port: number,
  report: string,
  sections: readonly string[] = [],
): Promise<H2specResult> {
  await new Promise<void>((resolve, reject) => {
    const args = [...sections, '-p', String(port), '--strict', '-j', report];
    execFile(h2spec, args, { timeout: 120_000, maxBuffer: 16 << 20 }, (error) => {
      // The exit status says that tests failed; the report says which.
      if (error === null || typeof error.code === 'number') resolve();
      else reject(error);
    });
  });
  const xml = readFileSync(report, 'utf8');
  const failed = new Map<string, string>();
  let passed = 0;
  for (const [, section = '', name = '', , body] of xml.matchAll(
    /<testcase package="([^"]*)" classname="([^"]*)"[^>]*?(\/>|>(.*?)<\/testcase>)/gs,
  )) {
    if (body === undefined || body === '') passed++;
    else if (!body.includes('<skipped')) failed.set(`${section}: ${name}`, text(body));
  }
  return { passed, failed };
}

const text = (xml: string): string =>
  xml
    .replace(/<[^>]*>/g, ' ')
    .replaceAll('&#xA;', '\n')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&#34;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&')
    .trim();
