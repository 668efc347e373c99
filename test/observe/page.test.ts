/**
 * The page in Chromium, under the policy of its server, with made-up meshes: what a reader sees and does. Screenshots are written to
 * WEFT_SCREENSHOTS.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Browser, Page } from 'puppeteer-core';
import { until } from '../../src/base/wait.js';
import {
  axeViolations,
  openPage,
  policyViolations,
  startBrowser,
  takeScreenshot,
} from '../support/browser.js';
import { emptyMesh, hostileMesh, madeUpMesh } from './made-up-mesh.js';
import { servePage, type PageServer } from './page-server.js';

let browser: Browser;
before(async () => {
  browser = await startBrowser();
});
after(() => browser.close());

const wide = { width: 1400, height: 900, scheme: 'light' } as const;
const waitMs = 30_000;
const small = (): ReturnType<typeof madeUpMesh> =>
  madeUpMesh({ workloads: 12, edges: 20, takenMs: Date.now() });

interface Seen {
  readonly page: Page;
  readonly server: PageServer;
  readonly problems: readonly string[];
}

/** Opens a view of a mesh, and expects that nothing went wrong in it. */
async function withPage(
  snapshot: ReturnType<typeof small>,
  hash: string,
  wait: string,
  run: (seen: Seen) => Promise<void>,
  view: { width: number; height: number; scheme: 'light' | 'dark' } = wide,
): Promise<void> {
  const server = await servePage(snapshot);
  const { page, problems, close } = await openPage(browser, `${server.url}${hash}`, view, wait);
  try {
    await run({ page, server, problems });
    assert.deepEqual(await policyViolations(page), []);
    // A tap of another namespace ends the one before.
    assert.deepEqual(
      problems.filter((problem) => !/^request: \S+\/api\/tap\S* net::ERR_ABORTED$/.test(problem)),
      [],
    );
  } finally {
    await close();
    await server.close();
  }
}
const textOf = async (page: Page, selector = 'body'): Promise<string> =>
  (
    await page.$eval(selector, (element) => (element as unknown as { innerText: string }).innerText)
  ).toString();
const untilText = (page: Page, pattern: RegExp, selector = 'body'): Promise<string> =>
  until(`${selector} has ${String(pattern)}`, waitMs, async () => {
    const text = await textOf(page, selector);
    return pattern.test(text) ? text : undefined;
  });
const edgeIds = (page: Page): Promise<string[]> =>
  page.$$eval('tr[data-edge-id]', (rows) => rows.map((row) => row.getAttribute('data-edge-id') ?? ''));

test('every edge of the mesh is a row of the table beside the graph', async () => {
  const mesh = small();
  await withPage(mesh, '#/graph', 'tr[data-edge-id]', async ({ page }) => {
    assert.deepEqual((await edgeIds(page)).sort(), mesh.edges.map(({ id }) => id).sort());
    const label = await page.$eval('.graph-canvas', (element) => element.getAttribute('aria-label'));
    assert.match(label ?? '', /12 workloads and 20 edges/);
  });
});

test('a mesh of more edges than are shown at first shows all of them when asked', async () => {
  const mesh = madeUpMesh({ workloads: 500, edges: 1_500, takenMs: Date.now() });
  await withPage(mesh, '#/graph', 'tr[data-edge-id]', async ({ page }) => {
    assert.ok((await edgeIds(page)).length < 1_500);
    await page.click('.more');
    await until('all rows', waitMs, async () => (await edgeIds(page)).length === 1_500);
    await takeScreenshot(page, 'page-graph-500');
  });
});

test('an empty mesh says so, and what could not be read is never shown as no problem', async () => {
  await withPage(emptyMesh(Date.now()), '#/', '.figures', async ({ page, server }) => {
    const text = await textOf(page);
    assert.match(text, /No problems\./);
    assert.match(text, /No edges were observed/);
    server.snapshot = {
      ...emptyMesh(Date.now()),
      incomplete: ['policies cannot be read: forbidden'],
      partial: ['problems'],
    };
    const incomplete = await untilText(page, /This is not everything/);
    assert.match(incomplete, /policies cannot be read: forbidden/);
    assert.doesNotMatch(incomplete, /No problems\./);
  });
});

test('the line of success has the last 15 minutes when the page is opened, with the changes beside it', async () => {
  const mesh = small();
  const { edges } = mesh;
  const edge = edges.find(({ requests, source }) => requests > 0 && source.startsWith('shop/'))?.id ?? '';
  for (const hash of ['#/', '#/changes', `#/graph?edge=${encodeURIComponent(edge)}`])
    await withPage(mesh, hash, '.share-chart', async ({ page }) => {
      // What nobody asked is a gap.
      assert.equal((await page.$$('.share-chart .line')).length, 2);
      assert.equal((await page.$$('.share-chart .mark')).length, 2, 'one of the three changes is older');
      const label = await page.$eval('.share-chart svg', (one) => one.getAttribute('aria-label'));
      assert.match(label ?? '', /^Success from \S+ to \S+: last 91.* %, with 2 changes$/);
    });
  const later = { ...mesh, history: { ...emptyMesh(mesh.takenMs).history, fromMs: mesh.takenMs - 20_000 } };
  await withPage(later as typeof mesh, '#/', '.figures', async ({ page, server }) => {
    assert.match(await textOf(page), /No request passed since \d+:\d+:\d+, where what is known begins/);
    const { history: _history, ...rest } = mesh;
    server.snapshot = { ...rest, takenMs: Date.now(), unknown: ['history'], incomplete: ['success: why'] };
    assert.equal(await page.$('.share-chart'), null);
    await untilText(page, /Success over time is not known: see above/);
  });
});

test('what could not be read is not shown as absent in any view', async () => {
  const { history: _history, ...rest } = emptyMesh(Date.now());
  const mesh = {
    ...rest,
    incomplete: ['edges: forbidden'],
    unknown: ['programs', 'workloads', 'edges', 'policies', 'problems', 'changes', 'history'] as const,
  };
  for (const view of ['', 'graph', 'policies', 'problems', 'changes'])
    await withPage(mesh, `#/${view}`, 'main .empty', async ({ page }) => {
      const text = await untilText(page, /not known: see above/);
      assert.doesNotMatch(
        text,
        /0\/s|\b0 (workloads|edges|failures)|were observed|No (changes|polic|problem|program)/i,
      );
    });
});

test('what is only partly read says so in each view, with the reason above it, and nothing of it is zero or ok', async () => {
  const mesh = small();
  const partly = {
    ...mesh,
    edges: mesh.edges.map((edge) => ({ ...edge, refused: 0, failures: 0, successShare: 1 })),
    programs: mesh.programs
      .filter(({ kind }) => kind === 'waypoint')
      .map(({ certificateExpiresMs: _one, ...rest }) => rest),
    programsUnread: [{ kind: 'agent', why: 'agents: pods is forbidden' }] as const,
    policies: mesh.policies.map((policy) => ({ ...policy, workloads: [], refused: 0, audited: 0 })),
    problems: [],
    incomplete: ['agents: pods is forbidden', 'objects: pods is forbidden'],
    partial: ['programs', 'workloads', 'edges', 'policies', 'problems', 'changes', 'history'] as const,
  };
  const says: Readonly<Record<string, readonly RegExp[]>> = {
    '#/': [
      /12 workloads, in what could be read/,
      /failures in \d+ min, in what could be read/,
      /Agents\s+not known\s+they are not known: agents: pods is forbidden/,
      /Certificates\s+not known\s+not known of shop\/waypoint/,
      /other[s ].*not known: see above/,
      /No problem in what could be read/,
      /100 % to 90\S* %, in what could be read; dashed lines are changes, in what could be read/,
      /acknowledged it, as far as is known/,
    ],
    '#/graph': [/20 edges, in what could be read/],
    '#/policies': [
      /There may be other policies/,
      /It applies to no workload, in what could be read\./,
      /Nothing was refused by it, in what could be read\./,
    ],
    '#/problems': [/No problem in what could be read/],
    '#/graph?workload=bank%2Fteller': [
      /Nobody was seen, in what could be read/,
      /Pods: not known/,
      /None in what could be read/,
    ],
  };
  for (const [hash, patterns] of Object.entries(says))
    await withPage(partly, hash, 'main', async ({ page }) => {
      await untilText(page, /objects: pods is forbidden/);
      const text = await textOf(page);
      for (const pattern of patterns) assert.match(text, pattern);
      assert.doesNotMatch(text, /No problems\.|0 pods|none expires soon|everybody may connect|\b0 of /);
      assert.match(await textOf(page, 'nav'), /Problems\s*\?/);
      assert.deepEqual(await axeViolations(page), [], hash);
      await takeScreenshot(page, `page-partly-${hash.replace(/\W+/g, '-')}`);
    });
});

test('the page begins with the window that the command was asked for, else with 15 minutes', async () => {
  for (const [hash, since] of [
    ['#token=t', '15m'],
    ['#token=t&since=90s', '90s'],
    ['#token=t&since=5m', '5m'],
  ] as const)
    await withPage(small(), hash, '.figures', async ({ page }) => {
      assert.equal(
        await page.$eval('.controls select', (one) => (one as unknown as { value: string }).value),
        since,
      );
    });
});

test('the filter leaves the edges of a namespace and of a text, and the address can be linked', async () => {
  const mesh = small();
  await withPage(mesh, '#/graph', 'tr[data-edge-id]', async ({ page }) => {
    await page.select('select[name=namespace]', 'billing');
    const own = mesh.edges.filter(
      ({ source, destination }) => /^billing\//.test(source) || /^billing\//.test(destination),
    );
    await until('edges of billing', waitMs, async () => (await edgeIds(page)).length === own.length);
    await page.type('input[name=text]', 'billing/orders');
    const orders = own.filter(({ source, destination }) => [source, destination].includes('billing/orders'));
    await until('edges of orders', waitMs, async () => (await edgeIds(page)).length === orders.length);
    assert.ok(orders.length > 0);
    const linked = await openPage(browser, page.url(), wide, 'tr[data-edge-id]');
    assert.equal((await edgeIds(linked.page)).length, orders.length);
    await linked.close();
  });
});

test('an edge is opened from the table by the keyboard alone, explained, and closed', async () => {
  const mesh = small();
  await withPage(mesh, '#/graph', 'tr[data-edge-id]', async ({ page, server }) => {
    server.explanation = {
      status: 200,
      body: {
        outcome: 'refused',
        ways: [
          {
            outcome: 'refused',
            path: 'refused',
            from: 'shop/web-0',
            to: 'billing/cart-0',
            why: 'no rule of policy billing/only-frontends allows it',
            pathWhy: 'the node refuses it',
            policy: 'billing/only-frontends',
            code: 'WEFT_POLICY',
            count: 4,
          },
        ],
        notes: ['nobody was asked for certificates'],
      },
    };
    // The first stop of the Tab key is the link past the navigation.
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate('document.activeElement.className'), 'skip');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate('document.activeElement.id'), 'main');
    const isAt = (selector: string): Promise<unknown> =>
      page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`);
    for (let press = 0; !(await isAt('tr[data-edge-id] a')) && press < 30; press++)
      await page.keyboard.press('Tab');
    assert.equal(await isAt('tr[data-edge-id] a'), true);
    // Focus is visible.
    assert.notEqual(await page.evaluate('getComputedStyle(document.activeElement).outlineStyle'), 'none');
    await page.keyboard.press('Enter');
    await page.waitForSelector('.detail');
    assert.match(await textOf(page, '.detail'), /Policies that refused it\s+\S+\/only-frontends/);
    // The focus is where the edge is now read, so that the button is a few stops away.
    for (let press = 0; !(await isAt('.explain button')) && press < 8; press++)
      await page.keyboard.press('Tab');
    assert.equal(await isAt('.explain button'), true);
    await page.keyboard.press('Enter');
    const explained = await untilText(page, /no rule of policy/, '.explain');
    assert.match(explained, /refused[\s\S]*4 pairs of pods[\s\S]*the node refuses it/);
    assert.match(server.asked[0] ?? '', /^source=\S+&destination=\S+\.svc\.cluster\.local/);
    await page.focus('.detail header a');
    await page.keyboard.press('Enter');
    await until('it is closed', waitMs, async () => (await page.$('.detail')) === null);
    assert.equal(await isAt('tr[data-edge-id] a'), true, 'the focus is where the reader came from');
  });
});

test('a click on a workload of the graph opens it, and one beside it closes it', async () => {
  await withPage(small(), '#/graph', 'tr[data-edge-id]', async ({ page }) => {
    const [x, y] = (await page.evaluate(`(() => {
      const canvas = document.querySelector('.graph-canvas');
      const { left, top } = canvas.getBoundingClientRect();
      const [node] = canvas._cyreg.cy.nodes('.workload').filter((one) => one.data('state').id === 'shop/web');
      return [left + node.renderedPosition('x'), top + node.renderedPosition('y')];
    })()`)) as [number, number];
    await page.mouse.click(x, y);
    await page.waitForSelector('.detail');
    assert.match(await textOf(page, '.detail'), /Workload[\s\S]*shop\/web/);
    const box = await (await page.$('.graph-canvas'))?.boundingBox();
    await page.mouse.click((box?.x ?? 0) + 4, (box?.y ?? 0) + 4);
    await until('it is closed', waitMs, async () => (await page.$('.detail')) === null);
  });
});

test('an explanation that fails says why', async () => {
  const mesh = small();
  const hash = `#/graph?edge=${encodeURIComponent(mesh.edges[0]?.id ?? '')}`;
  const server = await servePage(mesh);
  server.explanation = { status: 400, body: { error: 'there is no pod shop/web' } };
  const { page, close } = await openPage(browser, `${server.url}${hash}`, wide, '.explain button');
  await page.click('.explain button');
  await untilText(page, /there is no pod shop\/web/, '.explain');
  await close();
  await server.close();
});

test('a server that is gone is said, the last snapshot stays and is marked, and the page goes on when it is back', async () => {
  const server = await servePage(small());
  const { page, close } = await openPage(browser, `${server.url}#/graph`, wide, 'tr[data-edge-id]');
  await server.close();
  const text = await untilText(page, /the server does not respond/);
  assert.match(text, /no longer current/);
  assert.equal((await edgeIds(page)).length, 20);
  assert.notEqual(await page.$('main.stale'), null);
  await takeScreenshot(page, 'page-stale');
  server.snapshot = madeUpMesh({ workloads: 12, edges: 9, takenMs: Date.now() });
  await server.open();
  await until('the new edges', waitMs, async () => (await edgeIds(page)).length === 9);
  assert.equal(await page.$('main.stale'), null);
  assert.deepEqual(await policyViolations(page), []);
  await close();
  await server.close();
});

test('positions of workloads stay when a refresh adds and removes some', async () => {
  const mesh = small();
  await withPage(mesh, '#/graph', 'tr[data-edge-id]', async ({ page, server }) => {
    const places = (): Promise<Record<string, string>> =>
      // The library keeps its graph at its element.
      page.evaluate(`Object.fromEntries(document.querySelector('.graph-canvas')._cyreg.cy.nodes('.workload')
        .map((node) => [node.data('state').id, JSON.stringify(node.position())]))`) as Promise<
        Record<string, string>
      >;
    const first = await places();
    assert.equal(Object.keys(first).length, 12);
    const gone = mesh.workloads.at(-1)?.id ?? '';
    server.snapshot = {
      ...mesh,
      takenMs: Date.now(),
      workloads: [
        ...mesh.workloads.slice(0, -1),
        { id: 'shop/new', namespace: 'shop', name: 'new', pods: [], services: [] },
      ],
      edges: mesh.edges.filter(({ source, destination }) => source !== gone && destination !== gone),
    };
    const second = await until('the new workload', waitMs, async () => {
      const now = await places();
      return now['shop/new'] === undefined ? undefined : now;
    });
    for (const [id, place] of Object.entries(second))
      if (id !== 'shop/new') assert.equal(place, first[id], id);
    assert.equal(second[gone], undefined);
  });
});

test('the tap shows what passes, keeps a bounded list, says what was lost, and stands still while it is paused', async () => {
  await withPage(small(), '#/tap', '.tap-state', async ({ page, server }) => {
    await untilText(page, /Connected/, '.tap-state');
    const event = (index: number): object => ({
      kind: index % 2 === 0 ? 'request' : 'connection',
      timeMs: Date.now(),
      id: `id-${index}`,
      reporter: 'node-0',
      source: { namespace: 'shop', workload: 'web', pod: 'web-0' },
      destination: { namespace: 'billing', workload: 'cart', pod: 'cart-0', port: 8080 },
      path: 'hbone',
      outcome: index % 3 === 0 ? 'refused' : 'allowed',
      ...(index % 2 === 0
        ? { request: { method: 'GET', path: `/items/${index}`, status: 200, durationMs: 3 } }
        : {}),
      policy: 'billing/only-frontends',
    });
    for (let index = 0; index < 400; index++) server.sendTap(event(index));
    server.sendTap({ count: 77 }, 'lost');
    const text = await untilText(page, /77 events lost/);
    assert.match(text, /400 events/);
    const rows = (): Promise<number> => page.$$eval('tr[data-tap-id]', (all) => all.length);
    assert.equal(await rows(), 300);
    await takeScreenshot(page, 'page-tap-1400');
    await page.click('.tap-bar button[aria-pressed]');
    await untilText(page, /Paused/);
    server.sendTap(event(1_000));
    await untilText(page, /1 passed while paused/);
    assert.equal(await page.$('tr[data-tap-id=id-1000]'), null);
    await page.select('select[name=namespace]', 'billing');
    await until('the filter is asked for', waitMs, () => server.asked.includes('namespace=billing'));
  });
});

test('colors follow the system until the reader chooses, and the choice stays', async () => {
  await withPage(
    small(),
    '#/',
    '.figures',
    async ({ page }) => {
      const theme = (): Promise<unknown> => page.evaluate('document.documentElement.dataset.theme');
      assert.equal(await theme(), 'dark');
      await page.click('.theme');
      assert.equal(await theme(), 'light');
      await page.reload();
      await page.waitForSelector('.figures');
      assert.equal(await theme(), 'light');
    },
    { ...wide, scheme: 'dark' },
  );
});

const views: readonly (readonly [string, string, string])[] = [
  ['overview', '#/', '.figures'],
  ['graph', '#/graph', 'tr[data-edge-id]'],
  ['edge', '#/graph?edge=', '.detail'],
  ['workload', '#/graph?workload=shop%2Fweb', '.detail'],
  ['policies', '#/policies', '.cards'],
  ['problems', '#/problems', '.problems'],
  ['changes', '#/changes', '.changes'],
  ['tap', '#/tap', '.tap-state'],
];
for (const scheme of ['light', 'dark'] as const)
  for (const width of [1_400, 400])
    test(`each view at ${width} pixels in ${scheme} colors has no violation that axe finds, and nothing is wider than the screen`, async () => {
      const mesh = small();
      const denied = mesh.edges.find(({ refused }) => refused > 0)?.id ?? '';
      for (const [name, hash, wait] of views)
        await withPage(
          mesh,
          name === 'edge' ? `${hash}${encodeURIComponent(denied)}` : hash,
          wait,
          async ({ page }) => {
            assert.deepEqual(await axeViolations(page), [], name);
            assert.ok(
              (await page.evaluate('document.documentElement.scrollWidth <= innerWidth')) as boolean,
              `${name} scrolls sideways`,
            );
            await takeScreenshot(page, `page-${name}-${width}-${scheme}`);
          },
          { width, height: 900, scheme },
        );
    });

test('hostile names are text: nothing runs, nothing is hidden, and nothing breaks', async () => {
  for (const [name, hash, wait] of views)
    await withPage(
      hostileMesh(Date.now()),
      name === 'edge' || name === 'workload'
        ? `#/graph?workload=${encodeURIComponent('evil/__proto__')}`
        : hash,
      name === 'workload' || name === 'edge' ? '.detail' : wait,
      async ({ page }) => {
        await untilText(page, /This is not everything/);
        assert.doesNotMatch(await page.title(), /^owned/);
        assert.equal(await page.$('main img'), null);
        const text = await textOf(page);
        assert.doesNotMatch(text, /[\u202e\u200b]/);
        assert.match(text, /‹U\+202E›/);
        assert.deepEqual(await axeViolations(page), [], name);
        assert.ok(
          (await page.evaluate('document.documentElement.scrollWidth <= innerWidth')) as boolean,
          `${name} scrolls sideways`,
        );
        await takeScreenshot(page, `page-hostile-${name}`);
      },
      { width: 400, height: 900, scheme: 'light' },
    );
});
