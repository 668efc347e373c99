/**
 * The typed addon. Argument checks and stable errors are here, system calls in src/*.cc. Slow work (loading) runs on the thread
 * pool and returns a promise. Calls that take microseconds (maps, sockets) are synchronous, so relays can use them per
 * connection. Every error is a {@link NativeError}, and no failed call leaks a descriptor.
 */
export { NativeError, projectRoot, type Attachment, type MapInfo, type NativeErrorCode } from './addon.js';
export * from './btf.js';
export * from './channel.js';
export type * from './layout.js';
export * from './lock.js';
export * from './map.js';
export * from './memory.js';
export * from './netns.js';
export * from './object.js';
