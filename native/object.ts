/** Loads eBPF objects and manages the links of their programs (src/object.cc, src/probe.cc). */
import { addon, bytes, integer, refuse, run, text, translate, type Attachment } from './addon.js';

/**
 * Loads an object and pins its maps by name under `pinDir`; maps already pinned there are reused. Sets the read-only data unless
 * `rodata` is empty. Attaches the programs and pins their links; if a link is already pinned, its program is replaced atomically.
 * Errors: NATIVE_LAYOUT (a pinned map has another layout), NATIVE_VERIFIER (with the log), NATIVE_PERMISSION, NATIVE_SYSTEM. Pins
 * made before the error stay.
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

/** Detaches a pinned link and removes its pin; false if nothing is pinned there. Error: NativeError. */
export function detach(pin: string): boolean {
  return run(() => addon().detach(text(pin, 'pin')));
}

/**
 * The inode of the network namespace to which a pinned link is attached. 0 if that namespace is gone or the link was detached,
 * undefined if nothing is pinned at the path. The kernel detaches a link when its namespace dies. Error: NativeError.
 */
export function linkNetns(pin: string): number | undefined {
  const inode = run(() => addon().linkNetns(text(pin, 'pin')));
  return inode < 0 ? undefined : inode;
}

/** A descriptor of the link pinned at a path; undefined if there is none. The caller closes it. Error: NativeError. */
export function openLink(pin: string): number | undefined {
  const fd = run(() => addon().openLink(text(pin, 'pin')));
  return fd < 0 ? undefined : fd;
}

/** Detaches a link by its descriptor, even if other references exist. Its pin stays. Error: NativeError. */
export function detachLink(fd: number): void {
  run(() => addon().detachLink(integer(fd, 3, 0x7fff_ffff, 'fd')));
}

/**
 * Whether this kernel charges bytes that sk_msg redirects to the memory of the reading socket, tested between two loopback sockets.
 * Kernels before 6.13 without the backport charge the writer. `path`: of probe.bpf.o. Error: NativeError.
 */
export function chargesReader(path: string): boolean {
  return run(() => addon().chargesReader(text(path, 'path')));
}
