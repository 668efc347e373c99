/** Reads layouts from BTF: of a built object, of maps in the kernel (src/btf.cc). */
import { addon, run, text } from './addon.js';
import type { ObjectLayout, PinnedLayout } from './layout.js';

/** What a built object says of its maps and types. */
export function objectLayout(path: string): ObjectLayout {
  return run(() => addon().objectLayout(text(path, 'path')));
}

/** The types of a pinned map, by the object that made it, which may be another build's. */
export function pinnedLayout(pin: string): PinnedLayout {
  return run(() => addon().pinnedLayout(text(pin, 'pin')));
}

/** The same map at a second path. */
export function pinAgain(from: string, to: string): void {
  run(() => addon().pinAgain(text(from, 'from'), text(to, 'to')));
}
