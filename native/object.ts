/** Loading of eBPF objects, and links of their programs (src/object.cc, src/probe.cc). */
import { addon, bytes, integer, refuse, run, text, translate, type Attachment } from './addon.js';

/**
 * Loads an object whose maps are pinned by name under `pinDir` (those that are pinned there already are used), fills its
 * read-only data where `rodata` has bytes, attaches and pins its programs. Where a link is pinned already, its program is
 * replaced in one step. Errors: NATIVE_LAYOUT (a pinned map has another layout), NATIVE_VERIFIER (with the log),
 * NATIVE_PERMISSION, NATIVE_SYSTEM. What was pinned before an error stays pinned.
 */
export async function load(
  path: string,
  pinDir: string,
  rodata: Uint8Array,
  attachments: readonly Attachment[],
): Promise<void> {
  text(path, 'path');
  text(pinDir, 'pinDir');
  bytes(rodata, 'rodata');
  if (!Array.isArray(attachments)) refuse('attachments (an array)');
  for (const item of attachments as readonly Attachment[]) {
    text(item?.program, 'program');
    text(item.target, 'target');
    text(item.pin, 'pin');
    if (!['cgroup', 'netns', 'sockmap'].includes(item.kind)) refuse('kind (cgroup, netns or sockmap)');
  }
  try {
    await addon().load(path, pinDir, rodata, attachments);
  } catch (error) {
    throw translate(error);
  }
}

/** Ends a pinned link; false where none is pinned there. */
export function detach(pin: string): boolean {
  return run(() => addon().detach(text(pin, 'pin')));
}

/**
 * Of the link that is pinned at a path: the inode of its network namespace; 0 where that namespace is gone (or the link was
 * ended), undefined where nothing is pinned there. The kernel takes a link off its namespace as that dies. Throws NativeError.
 */
export function linkNetns(pin: string): number | undefined {
  const inode = run(() => addon().linkNetns(text(pin, 'pin')));
  return inode < 0 ? undefined : inode;
}

/** A descriptor of the link that is pinned at a path, the caller's to close; undefined where there is none. */
export function openLink(pin: string): number | undefined {
  const fd = run(() => addon().openLink(text(pin, 'pin')));
  return fd < 0 ? undefined : fd;
}

/** Ends a link by its descriptor, even where others hold it. Its pin stays. */
export function detachLink(fd: number): void {
  run(() => addon().detachLink(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

/**
 * Whether this kernel counts what sk_msg redirects as memory of the socket that will read it, tried between two sockets of
 * loopback (those before 6.13, where it was not brought back to them, charge the writer). `path`: of probe.bpf.o.
 */
export function chargesReader(path: string): boolean {
  return run(() => addon().chargesReader(text(path, 'path')));
}
