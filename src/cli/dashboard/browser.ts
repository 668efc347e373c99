/** Opens the page in the user's browser. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Whether there is a screen to open a browser on. */
export const hasDisplay = (env: NodeJS.ProcessEnv): boolean =>
  (env['DISPLAY'] ?? '') !== '' || (env['WAYLAND_DISPLAY'] ?? '') !== '';

/**
 * Opens a URL whose fragment is secret: other users of the machine can read the arguments of programs, so the browser is given a file of this
 * user that leads to it. Returns a function that removes the file.
 */
export function openBrowser(url: string): () => void {
  const dir = privateDirectory();
  const file = join(dir, 'open.html');
  writeFileSync(
    file,
    `<!doctype html><meta http-equiv="refresh" content="0; url=${url}"><title>weft</title>`,
    {
      mode: 0o600,
    },
  );
  const child = spawn('xdg-open', [file], { detached: true, stdio: 'ignore' });
  // Without xdg-open the URL that was printed is opened by hand.
  child.once('error', () => undefined);
  child.unref();
  return () => rmSync(dir, { recursive: true, force: true });
}

/** A directory of this user alone. The usual one is absent without a session. */
function privateDirectory(): string {
  try {
    return mkdtempSync(join(process.env['XDG_RUNTIME_DIR'] ?? tmpdir(), 'weft-dashboard-'));
  } catch {
    return mkdtempSync(join(tmpdir(), 'weft-dashboard-'));
  }
}
