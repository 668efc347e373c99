/** Chromium for tests of pages. What goes wrong in a page is collected: errors, console messages, and what its policy refused. */
import { accessSync, constants, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { distRoot } from '../../src/cli/run.js';
import { browserPath } from '../../src/cli/demo/browser.js';

/** Where screenshots are written: WEFT_SCREENSHOTS, else below dist/test, which no image has. */
export const screenshots = process.env['WEFT_SCREENSHOTS'] ?? join(distRoot, 'test', 'screenshots');
const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** Fails if there is no Chromium: these tests cannot be skipped. */
export async function startBrowser(): Promise<Browser> {
  const executablePath = browserPath();
  if (executablePath === undefined)
    throw new Error('there is no Chromium: bash native/prepare.sh observe, or name it with CHROMIUM');
  accessSync(executablePath, constants.X_OK);
  // Tests run as root in their own namespaces, where Chromium's sandbox cannot be set up.
  return puppeteer.launch({
    executablePath,
    headless: true,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    protocolTimeout: 120_000,
  });
}

export interface OpenPage {
  readonly page: Page;
  /** What went wrong so far. */
  readonly problems: readonly string[];
  close(): Promise<void>;
}

export interface View {
  readonly width: number;
  readonly height: number;
  readonly scheme: 'light' | 'dark';
}

/** @param wait what must be on the page: a selector */
export async function openPage(browser: Browser, url: string, view: View, wait: string): Promise<OpenPage> {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warn'].includes(message.type())) problems.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`error: ${String(error)}`));
  page.on('requestfailed', (request) =>
    problems.push(`request: ${request.url()} ${request.failure()?.errorText}`),
  );
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== 'data:' && origin !== new URL(url).origin) problems.push(`elsewhere: ${request.url()}`);
  });
  await page.evaluateOnNewDocument(`
    window.policyViolations = [];
    addEventListener('securitypolicyviolation', (event) =>
      window.policyViolations.push(event.violatedDirective + ' ' + event.blockedURI));`);
  await page.setViewport({ width: view.width, height: view.height });
  await page.emulateMediaFeatures([
    { name: 'prefers-color-scheme', value: view.scheme },
    { name: 'prefers-reduced-motion', value: 'reduce' },
  ]);
  await page.goto(url, { waitUntil: 'load', timeout: 60_000 });
  await page.waitForSelector(wait, { timeout: 60_000 });
  return { page, problems, close: () => context.close() };
}

/** What the page's policy refused. */
export const policyViolations = async (page: Page): Promise<readonly string[]> =>
  (await page.evaluate('window.policyViolations')) as string[];

/** Violations that axe finds, each with the elements. */
export async function axeViolations(page: Page): Promise<readonly string[]> {
  // The page's policy does not let a script element in; the protocol of the tools does.
  await page.evaluate((await import('node:fs')).readFileSync(axePath, 'utf8'));
  const result = (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as {
    violations: readonly { id: string; help: string; nodes: readonly { target: readonly unknown[] }[] }[];
  };
  return result.violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target }) => String(target[0])).join(', ')}`,
  );
}

/** Writes a screenshot of the visible part. */
export async function takeScreenshot(page: Page, name: string): Promise<void> {
  mkdirSync(screenshots, { recursive: true });
  await page.screenshot({ path: join(screenshots, `${name}.png`) as `${string}.png` });
}
