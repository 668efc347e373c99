/** Reads layouts from the BTF of built objects and of maps in the kernel (src/btf.cc). */
import { addon, run, text } from './addon.js';
import type { ObjectLayout, PinnedLayout } from './layout.js';

/** The maps and types of a built object. Error: NativeError. */
export function objectLayout(path: string): ObjectLayout {
  return run(() => addon().objectLayout(text(path, 'path')));
}

/** The types of a pinned map, from the object that created it, which may be another build's. Error: NativeError. */
export function pinnedLayout(pin: string): PinnedLayout {
  return run(() => addon().pinnedLayout(text(pin, 'pin')));
}

/** Pins the map at `from` a second time, at `to`. Error: NativeError. */
export function pinAgain(from: string, to: string): void {
  run(() => addon().pinAgain(text(from, 'from'), text(to, 'to')));
}
