/** Names in the pages must exist: files, functions, anchors, metrics, flags and chart values. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { projectRoot } from '../../native/index.js';
import { steps } from '../../src/cli/demo/steps.js';
import { routeIdleKeys } from '../../src/model/idle-settings.js';
import { routeFilterKeys } from '../../src/model/route-annotations.js';
import { servicePolicyKeys } from '../../src/model/service-policy.js';
import { gatewayKeys } from '../../src/model/waypoint-settings.js';

const read = (path: string): string => readFileSync(join(projectRoot, path), 'utf8');
/** Folders created by the build or by npm. */
const skipped = new Set(['node_modules', 'build', 'dist']);
function* filesBelow(dir: string): Generator<string> {
  for (const entry of readdirSync(join(projectRoot, dir), { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (!entry.isDirectory()) yield path;
    else if (!skipped.has(entry.name)) yield* filesBelow(path);
  }
}
const topFolders = ['src', 'control', 'daemonset', 'bpf', 'native', 'bench', 'test', 'docs', 'lint', '.ci'];
/** Paths of the repository's files, from its root. */
const files = [
  ...readdirSync(projectRoot).filter((name) => name.endsWith('.md')),
  ...topFolders.flatMap((dir) => [...filesBelow(dir)]),
].sort();
const pages = files.filter(
  (file) => /^(README|CONTRIBUTING|SECURITY)\.md$/.test(file) || /^docs\/.*\.md$/.test(file),
);
const allPages = [...pages, ...files.filter((file) => /^CHANGELOG\.md$|^test\/.*\.md$/.test(file))];

const fence = /^```[^\n]*\n[\s\S]*?^```$/gm;
const withoutFences = (text: string): string => text.replace(fence, '');

/** Anchors of a page's headings, by GitHub's rules. */
function anchorsOf(page: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading = ''] of withoutFences(read(page)).matchAll(/^#+ (.*)$/gm)) {
    const slug = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    const times = seen.get(slug) ?? 0;
    seen.set(slug, times + 1);
    anchors.add(times === 0 ? slug : `${slug}-${times}`);
  }
  return anchors;
}

test('links between pages and files, and their anchors, have existing targets', () => {
  const broken: string[] = [];
  for (const page of allPages) {
    const text = withoutFences(read(page));
    const targets = [
      ...[...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target),
      ...[...text.matchAll(/\b(?:src|srcset|href)="([^"]+)"/g)].map(([, target = '']) => target),
    ];
    // Reference links, as the sources of docs/compare.md are: [[I1]] and below [I1]: https://...
    for (const [, name = ''] of text.matchAll(/\[\[(\w+)\]\]/g))
      if (!text.includes(`\n[${name}]: `)) broken.push(`${page}: [[${name}]]`);
    for (const target of targets) {
      if (/^(https?|mailto):/.test(target)) continue;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(projectRoot, file))) broken.push(`${page}: ${target}`);
      else if (anchor !== undefined && !(file.endsWith('.md') && anchorsOf(file).has(anchor)))
        broken.push(`${page}: ${target} (no such heading)`);
    }
  }
  assert.deepEqual(broken, []);
});

const tops = topFolders.map((dir) => dir.replace('.', '\\.')).join('|');
/** `src/policy/authorize.ts`, `plan.ts`, `http1/server.ts`, `daemonset/maps/`, `test/threats/1-*.test.ts`. */
const pathInText = new RegExp(`^(?:(?:${tops})/[\\w./*-]*|[\\w./-]+\\.(?:ts|c|h|cc|mjs|proto|bpf\\.c))$`);

const regexOf = (path: string): RegExp =>
  new RegExp(`(^|/)${path.replaceAll(/[.+]/g, '\\$&').replaceAll('*', '[^/]*')}$`);
function isThere(path: string): boolean {
  if (new RegExp(`^(${tops})/`).test(path)) {
    if (!path.includes('*')) return existsSync(join(projectRoot, path));
    return files.some((file) => regexOf(path).test(file));
  }
  return files.some((file) => regexOf(path).test(file));
}
/** Paths created by the build, which may not exist. */
const isBuilt = (path: string): boolean => /^(bpf|native)\/.*build\//.test(path);

test('files and folders that pages name exist', () => {
  const missing: string[] = [];
  for (const page of pages)
    for (const [, code = ''] of withoutFences(read(page)).matchAll(/`([^`\n]+)`/g))
      if (pathInText.test(code) && !isBuilt(code) && !isThere(code)) missing.push(`${page}: ${code}`);
  assert.deepEqual(missing, []);
});

test('functions and types that pages name beside a file are in that file', () => {
  const missing: string[] = [];
  for (const page of pages) {
    const text = withoutFences(read(page)).replaceAll(/\s+/g, ' ');
    // `src/state/resolve.ts` (`resolveWaypoint`, `resolveService`)
    for (const [, path = '', names = ''] of text.matchAll(
      /`([\w./-]+\.(?:ts|c|h|cc))` \((`[#\w.()]+`(?:(?:, | and )`[#\w.()]+`)*)/g,
    )) {
      const file = files.find((candidate) => regexOf(path).test(candidate));
      if (file === undefined) continue; // the test above reports it
      const source = read(file);
      for (const [, name = ''] of names.matchAll(/`([^`]+)`/g)) {
        const last = name.replace(/\(\)$/, '').split('.').at(-1) ?? name;
        if (!source.includes(last)) missing.push(`${page}: ${path} (${name})`);
      }
    }
  }
  assert.deepEqual(missing, []);
});

const sources = files.filter(
  (file) => /^(src|control|daemonset)\/.*\.ts$/.test(file) && !/\.test\.ts$|\/gen\//.test(file),
);

test('docs/metrics.md lists every metric, and no other', () => {
  const made = new Set<string>();
  for (const file of sources) {
    const text = read(file);
    if (!/prom-client|registerMetric/.test(text)) continue;
    for (const [, name = ''] of text.matchAll(
      /'((?!envoy_cluster_name')(?:weft|istio|envoy)_[a-z0-9_]+[a-z0-9])'/g,
    ))
      made.add(name);
  }
  assert.ok(made.size > 20, `${made.size} metrics were found in the source`);
  const listed = [
    ...read('docs/metrics.md').matchAll(/^\| ((?:`(?:weft|istio|envoy)_\w+`(?:, )?)+)/gm),
  ].flatMap(([, names = '']) => [...names.matchAll(/\w+/g)].map(([name]) => name));
  assert.deepEqual([...new Set(listed)].sort(), [...made].sort());
});

test('docs/limits.md names every limit that an agent or a carrier counts', () => {
  const native = files.filter(
    (file) => /^native\/carrier\/src\/.*\.(cc|h)$/.test(file) && !/test/.test(file),
  );
  const agent = sources.filter((file) => /^(daemonset|src\/(hbone|http2|tls))\//.test(file));
  const counted = [...native, ...agent].flatMap((file) => {
    const text = read(file);
    const calls = [...text.matchAll(/[lL]imitReached(?:\.inc)?\(([^;]*?)\)/g)].map(
      ([, inside = '']) => inside,
    );
    // const char* const reached = a ? "connections" : "connections-of-pod";
    const chosen = [...text.matchAll(/\breached =([^;]*);/g)].map(([, value = '']) => value);
    return [...calls, ...chosen].flatMap((code) =>
      [...code.matchAll(/["']([a-z][a-z-]+)["']/g)].map(([, name = '']) => name),
    );
  });
  const names = [...new Set(counted)].sort();
  assert.ok(names.includes('descriptors') && names.includes('carrier-events'), names.join(' '));
  const page = read('docs/limits.md');
  assert.deepEqual(
    names.filter((name) => !page.includes(`limit="${name}"`)),
    [],
  );
});

test('the pages document every limit of a waypoint', () => {
  const source = read('src/waypoint/limits.ts');
  const limits = /export type WaypointLimit =([^;]+);/.exec(source)?.[1] ?? '';
  const documented = ['waypoint', 'limits', 'traffic'].map((page) => read(`docs/${page}.md`)).join('\n');
  const names = [...limits.matchAll(/'([\w-]+)'/g)].map(([, name = '']) => name);
  assert.ok(names.length > 10, 'the names were found');
  assert.deepEqual(
    names.filter((name) => !documented.includes(`limit="${name}"`)),
    [],
  );
});

/** Names in backticks in the first cell of each row of the table below a heading. */
function rowsBelow(page: string, heading: string): string[] {
  const text = read(page);
  const from = text.indexOf(`\n${heading}\n`);
  assert.ok(from >= 0, `${page} has no heading ${heading}`);
  const rest = text.slice(from + heading.length + 2);
  const section = rest.slice(0, /^#/m.exec(rest)?.index ?? rest.length);
  return [...section.matchAll(/^\| ((?:`[^`]+`(?:, )?)+) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
  );
}

test('docs/configuration.md lists every annotation of routes, Gateways and settings of a Service', () => {
  const listed = new Set(rowsBelow('docs/configuration.md', '## Annotations'));
  const keys = [...servicePolicyKeys, ...routeFilterKeys, ...routeIdleKeys, ...gatewayKeys];
  assert.deepEqual(
    keys.filter((key) => !listed.has(key)),
    [],
  );
});

test('docs/configuration.md lists every value of the chart, and no other', () => {
  const leaves = (value: unknown, path: string): string[] =>
    typeof value !== 'object' || value === null || Array.isArray(value) || Object.keys(value).length === 0
      ? [path]
      : Object.entries(value).flatMap(([key, inner]) => leaves(inner, path === '' ? key : `${path}.${key}`));
  // Objects that Kubernetes defines have one row: their fields are not the chart's.
  const own = leaves(parse(read('daemonset/chart/values.yaml')), '').map((path) =>
    path.replace(/\.(resources|nodeSelector|tolerations|affinity)\..*/, '.$1'),
  );
  const listed = rowsBelow('docs/configuration.md', '## Chart values');
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(own)].sort());
});

for (const [heading, folder] of [
  ['## Flags of the agent', 'daemonset/'],
  ['## Flags of the control plane', 'control/'],
  ['## Flags of a waypoint', 'src/waypoint/'],
  ['## Flags of the rate limit service', 'src/rate-limit/'],
] as const) {
  test(`docs/configuration.md lists every flag below "${heading}", and no other`, () => {
    const flags = new Set<string>();
    for (const file of sources.filter((candidate) => candidate.startsWith(folder)))
      for (const [, flag = ''] of read(file).matchAll(
        /(?:\.(?:requiredOption|option)\(|new Option\()\s*'(--[a-z0-9-]+)/g,
      ))
        flags.add(flag);
    assert.ok(flags.size > 5, `${flags.size} flags were found in ${folder}`);
    const listed = rowsBelow('docs/configuration.md', heading).filter((name) => name.startsWith('--'));
    assert.deepEqual([...new Set(listed)].sort(), [...flags].sort());
  });
}

test('docs/explain.md lists every reason of the eBPF programs, and no other', () => {
  const generated = read('daemonset/maps/rows.generated.ts');
  const [, list = ''] = /export const reasons = \[([^\]]*)\]/.exec(generated) ?? [];
  const made = [...list.matchAll(/'([a-z-]+)'/g)].map(([, name = '']) => name);
  assert.ok(made.length > 20, `${made.length} reasons were found`);
  const page = read('docs/explain.md');
  const table = page.slice(page.indexOf('| reason | meaning |'));
  const listed = [...table.matchAll(/^\| ([a-z, -]+) \|/gm)].flatMap(([, cell = '']) => cell.split(', '));
  assert.deepEqual(listed.filter((name) => !['reason', '---'].includes(name)).sort(), made.sort());
});

test('weft commands in pages exist, with their flags', () => {
  const cli = files.filter((file) => /^src\/cli\/.*\.ts$/.test(file) && !file.endsWith('.test.ts')).map(read);
  const names = new Set(
    cli.flatMap((text) =>
      [...text.matchAll(/(?:new Command|\.command)\(\s*'([a-z-]+)/g)].map(([, name = '']) => name),
    ),
  );
  for (const [, name = ''] of read('src/cli/programs.ts').matchAll(/'([a-z]+(?:-[a-z]+)?)'/g))
    names.add(name);
  const flags = new Set(['--help', '--version']);
  for (const file of sources)
    for (const [, flag = ''] of read(file).matchAll(/'(?:-\w, )?(--[a-z0-9-]+)/g)) flags.add(flag);
  const wrong: string[] = [];
  for (const page of pages) {
    const text = read(page);
    const lines = [
      ...[...text.matchAll(fence)].flatMap(([block]) => block.split('\n')),
      ...[...withoutFences(text).matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code),
    ];
    for (const line of lines) {
      // The command ends at a comment, a pipe, or arguments for helm.
      const [, name, rest = ''] =
        /(?:^|npx |[(;] ?)weft ([a-z][a-z-]*)((?:(?! -- | #|[|;>]).)*)/.exec(line) ?? [];
      if (name === undefined || /helm|daemonset\/chart/.test(line)) continue;
      if (!names.has(name)) wrong.push(`${page}: weft ${name}`);
      for (const [flag] of rest.matchAll(/--[a-z][a-z0-9-]*/g))
        if (!flags.has(flag)) wrong.push(`${page}: weft ${name} ${flag}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('npm scripts in pages exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const missing: string[] = [];
  for (const page of allPages)
    for (const [, name = ''] of read(page).matchAll(/npm run (?:--silent )?([a-z][a-z0-9:-]*)/g))
      if (!(name in scripts)) missing.push(`${page}: npm run ${name}`);
  assert.deepEqual(missing, []);
});

test('README.md shows the steps of the demo', () => {
  const shown = [...read('README.md').matchAll(/^ ?(\d+)\. (.*)$/gm)].map(
    ([, number, title]) => `${number}. ${title}`,
  );
  assert.deepEqual(
    shown,
    steps.map(({ title }, index) => `${index + 1}. ${title}`),
  );
});

test('pages state the number of steps of the demo', () => {
  const counts = allPages.flatMap((page) =>
    [...read(page).matchAll(/(?<!\d)(\d\d) steps\b/g)].map(([, count]) => `${page}: ${count}`),
  );
  assert.ok(counts.length >= 3, 'the pages that state it were found');
  assert.deepEqual(
    counts.filter((count) => !count.endsWith(`: ${steps.length}`)),
    [],
  );
});

test('docs/glossary.md is sorted, each term once', () => {
  const terms = [...read('docs/glossary.md').matchAll(/^\| ([^|]+) \|/gm)]
    .map(([, term = '']) => term)
    .filter((term) => term !== 'term' && term !== '---');
  assert.ok(terms.length >= 60, `${terms.length} terms`);
  assert.deepEqual(
    terms,
    [...new Set(terms)].sort((a, b) => a.localeCompare(b, 'en')),
  );
});

test('docs/README.md links to every page', () => {
  const index = read('docs/README.md');
  const lost = files.filter(
    (file) =>
      /^docs\/[\w-]+\.md$/.test(file) && file !== 'docs/README.md' && !index.includes(`](${file.slice(5)}`),
  );
  assert.deepEqual(lost, []);
});
