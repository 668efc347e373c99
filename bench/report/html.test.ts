import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { BenchResult, Sample } from '../result/result.js';
import { variables } from './theme.js';
import { escaped, htmlReport } from './html.js';
import { made, shortOfSidecars, variants, workloads, type Made } from './synthetic.js';

/** Small: what is asked of the page is the same for few plots. */
const small = (options: Made = {}): BenchResult =>
  made({
    rounds: 2,
    placements: ['same-node'],
    workloads: workloads.filter(({ name }) => ['http1', 'bulk', 'pods'].includes(name)),
    ...options,
  });
const page = (options: Made = {}): string => htmlReport(small(options));
const full = page();
/** Markup alone: no style, no script, no words. */
const tags = (html: string): string[] =>
  html.replace(/(<style>)[\s\S]*?<\/style>|(<script>)[\s\S]*?<\/script>/g, '$1$2').match(/<[a-z!/][^>]*>/g) ??
  [];
const textOf = (html: string): string =>
  html.replace(/<(style|script)>[\s\S]*?<\/\1>/g, '').replace(/<[^>]*>/g, ' ');
const between = (html: string, from: string, to: string): string =>
  (html.split(from)[1] ?? '').split(to)[0] ?? '';

const evil = `<script>alert(1)</script><img src=x onerror='a()'>"x' & </title></style><!-- \u202e\u0007$& $1`;

test('everything that a result says is text in the page', () => {
  const failure = {
    ...({ round: 0, placement: 'same-node' } as const),
    ...{ variant: evil, workload: evil, point: evil, why: evil },
  };
  const result = small({
    variants: variants.map((one, at) => ({
      ...one,
      name: at > 1 ? `${evil}${at}` : one.name,
      title: `${evil}${at}`,
      about: evil,
    })),
    workloads: workloads.map((one) => ({
      ...one,
      title: `${one.title} ${evil}`,
      pointTitle: evil,
      about: evil,
    })),
    edit: (samples) =>
      samples.map((sample) => ({
        ...sample,
        point: sample.workload === 'bulk' ? `${evil} ${sample.point}` : sample.point,
        ...(sample.point === '90 %' && sample.variant !== 'none'
          ? { values: { perSecond: 1 }, short: evil }
          : {}),
      })),
    over: {
      startedAt: evil,
      endedAt: evil,
      settings: { [evil]: evil, target: 'http://user:"<b>@host/' },
      machine: { [evil]: evil },
      versions: { [evil]: evil },
      missing: [{ what: evil, why: evil }],
      failures: [failure],
      evidence: [{ variant: evil, what: evil, value: 1 }],
      generators: [{ name: evil, version: evil, baseline: { [evil]: 1 } }],
      goals: [{ what: evil, wanted: evil, state: 'reached', unit: evil, from: evil, found: spread }],
    },
  });
  const html = htmlReport(result);
  assert.ok(html.includes('&lt;script&gt;alert(1)'));
  assert.equal(html.match(/<script/g)?.length, 1);
  assert.equal(html.match(/<\/(style|title)>/g)?.length, 2 + (html.match(/<title id=/g)?.length ?? 0));
  assert.doesNotMatch(html, /[\u0000-\u0008\u000b-\u001f\u202e]/);
  // The same elements with the same attributes, whatever the words are.
  const kinds = (of: string): Set<string> =>
    new Set(tags(of).map((tag) => /^<\/?!?([\w-]+)/.exec(tag)?.[1] ?? tag));
  for (const kind of ['img', 'b', 'iframe']) assert.equal(kinds(html).has(kind), kind === 'b', kind);
  for (const tag of tags(html)) assert.doesNotMatch(tag.replace(/"[^"]*"/g, '""'), /\son\w+=|alert|'/, tag);
});
const spread = { median: 1, min: 1, max: 1 };

test('text between quotes of an attribute ends none of them', () => {
  assert.equal(escaped(`<a b="c" d='e'>&\u202e\u0000`), '&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;  ');
});

test('loads nothing: no address, no source, nothing to fetch in its style', () => {
  assert.doesNotMatch(full, /https?:|\/\/[a-z]/i);
  for (const tag of tags(full)) {
    assert.doesNotMatch(tag, /\s(?:src|srcset|data|action|poster|ping|xlink:href|background)=/);
    assert.doesNotMatch(tag, /^<(?:link|img|iframe|object|embed|base|form|video|audio|image|use)\b/);
    assert.doesNotMatch(tag, /\shref="(?!#)/);
    assert.doesNotMatch(tag, /\son[a-z]+=/);
  }
  assert.doesNotMatch(full, /url\(|@import|@font-face|import\(|fetch\(|XMLHttp|WebSocket/);
});

test('the one script is the one that the policy allows by its hash', () => {
  const scripts = [...full.matchAll(/<script([^>]*)>([\s\S]*?)<\/script>/g)];
  assert.equal(scripts.length, 1);
  const [, attributes, body = ''] = scripts[0] ?? [];
  assert.equal(attributes, '');
  const policy = between(full, 'http-equiv="Content-Security-Policy" content="', '"');
  const hash = createHash('sha256').update(body).digest('base64');
  const directives = new Map(
    policy.split('; ').map((one): [string, string] => {
      const [name = '', ...values] = one.split(' ');
      return [name, values.join(' ')];
    }),
  );
  assert.equal(directives.get('script-src'), `'sha256-${hash}'`);
  assert.equal(directives.get('default-src'), "'none'");
  // Before anything that it is to judge.
  assert.ok(full.indexOf('Content-Security-Policy') < full.indexOf('<style'));
});

test('light and dark are the same drawing: every color of a plot is a variable that both have', () => {
  const drawings = full.match(/<svg[\s\S]*?<\/svg>/g) ?? [];
  assert.ok(drawings.length > 10);
  for (const svg of drawings) {
    assert.doesNotMatch(svg, /#[0-9a-f]{3,8}\b|rgba?\(/i);
    for (const [, name] of svg.matchAll(/var\(--([\w-]+)\)/g))
      assert.ok(
        variables.some((one) => one.name === name),
        name,
      );
  }
  const style = between(full, '<style>', '</style>');
  const sets = (css: string): string[] => [...css.matchAll(/--([\w-]+):/g)].map(([, name = '']) => name);
  const light = sets(between(style, ':root{', '}'));
  assert.deepEqual(sets(between(style, ':root:not([data-theme=light]){', '}')), light);
  assert.deepEqual(sets(between(style, ':root[data-theme=dark]{', '}')), light);
});

test('ids are unique, and every link leads to one', () => {
  const html = htmlReport(made({ rounds: 2, over: { missing: [{ what: 'a', why: 'b' }] } }));
  const ids = [...html.matchAll(/\sid="([^"]*)"/g)].map(([, id = '']) => id);
  assert.equal(new Set(ids).size, ids.length);
  for (const [, to = ''] of html.matchAll(/href="#([^"]*)"/g)) assert.ok(ids.includes(to), to);
  for (const [, of = ''] of html.matchAll(/aria-labelledby="([^"]*)"/g))
    for (const id of of.split(' ')) assert.ok(ids.includes(id), id);
});

test('a rate that was not reached is said where its latency would stand, and why', () => {
  const html = page({ edit: shortOfSidecars });
  const text = textOf(html);
  assert.match(text, /Envoy sidecars at 90 %, 18000\/s: not reached in 2 of 2 rounds/);
  assert.match(text, /14000 of 18000 a second in 2 of 2 rounds\. the connections were all busy/);
  assert.match(between(html, '<section id="short">', '</section>'), /Envoy sidecars/);
  const rows = html.match(/<tr>.*?<\/tr>/g) ?? [];
  const short = rows.filter((row) => row.includes('Envoy sidecars') && row.includes('rate not reached'));
  assert.ok(short.length > 0);
  for (const row of short) assert.doesNotMatch(row, /µs|ms</);
  // A load at which everybody is short: the table at the top has words for it, not numbers.
  const all = page({
    edit: (samples) =>
      samples.map((one): Sample =>
        one.workload === 'http1' && one.variant === 'sidecars'
          ? { ...one, values: { perSecond: 5 }, short: 'busy' }
          : one,
      ),
  });
  const head = between(all, '<table class="head">', '</table>');
  assert.match(head, /<td class="weak">rate not reached<\/td>/);
  assert.doesNotMatch(full, /rate not reached|id="short"/);
});

test('what is missing, failed and interrupted is said', () => {
  const html = page({
    over: {
      interrupted: true,
      missing: [{ what: 'linkerd2-proxy', why: 'not on PATH' }],
      failures: [
        { round: 1, placement: 'same-node', variant: 'kernel', workload: 'bulk', point: '4', why: 'reset' },
      ],
    },
  });
  const text = textOf(html).replace(/\s+/g, ' ');
  assert.match(text, /The run was interrupted: this is what was measured until then\./);
  assert.match(text, /linkerd2-proxy : not on PATH/);
  assert.match(text, /Round 2, On one node, Bulk 4, Weft, by the kernel: reset/);
  assert.match(text, /1 measurement failed; its figure has fewer rounds\./);
  for (const id of ['missing', 'failures']) assert.ok(html.includes(`href="#${id}"`));
  assert.doesNotMatch(full, /interrupted|class="warning"|id="missing"|id="failures"/);
});

test('one round is said to be no result', () => {
  assert.match(textOf(page({ rounds: 1 })), /One round has no spread/);
  assert.doesNotMatch(textOf(full), /One round has no spread/);
});

test('a result without samples still gives a page', () => {
  const html = page({ rounds: 0, over: { missing: [{ what: 'all', why: 'no pod came up' }] } });
  assert.match(textOf(html), /Nothing was measured\./);
  assert.match(textOf(html), /no pod came up/);
  assert.doesNotMatch(html, /<figure|NaN|undefined|Infinity/);
  assert.match(html, /<\/html>\n$/);
});

test('a difference within the noise is none, others say their side in words and color', () => {
  const html = page({ noise: 0.001, change: ({ variant }) => (variant === 'kernel' ? 1 / 0.86 : 1) });
  const row =
    (html.match(/<tr><th scope="row">HTTP\/1\.1.*?<\/tr>/g) ?? []).find((one) => one.includes('p50')) ?? '';
  assert.match(row, /<span class="worse">▼ \d/);
  const [, none, sidecars, kernel] = row.split('<td').slice(1);
  assert.doesNotMatch(none ?? '', /span/);
  assert.match(sidecars ?? '', /worse/);
  assert.ok(kernel !== undefined);
});

test('no number is one that cannot be read, even of values that are zero', () => {
  const html = page({
    edit: (samples) =>
      samples.map((one) => ({
        ...one,
        values: Object.fromEntries(
          Object.entries(one.values).map(([metric, value]) => [metric, one.variant === 'noise' ? 0 : value]),
        ),
      })),
  });
  assert.doesNotMatch(html, /NaN|Infinity|undefined/);
});
