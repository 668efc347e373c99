/** Memory that several processes share (src/memory.cc). */
import { integer, memoryAddon, run } from './addon.js';

/**
 * Makes shared memory of `bytes` zeros and returns its descriptor, which other processes may inherit. The caller closes it. Error:
 * NativeError, of the code NATIVE_NOT_BUILT if the addon is missing.
 */
export function createSharedMemory(bytes: number): number {
  return run(() => memoryAddon().create(integer(bytes, 1, 2 ** 40, 'bytes')));
}

/**
 * Maps shared memory. `Atomics` works on its views across processes. The descriptor may be closed afterwards; the mapping ends with the
 * last reference to the buffer. Error: NativeError.
 */
export function mapSharedMemory(fd: number): ArrayBuffer {
  return run(() => memoryAddon().map(integer(fd, 0, 0x7fff_ffff, 'fd')));
}
