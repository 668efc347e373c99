/**
 * The addon, typed: argument checks and stable errors here, system calls in src/*.cc. Heavy work (loading) is a promise
 * on the thread pool; what takes microseconds (maps, sockets) is a plain call, so that the data path can use it per
 * connection. Every error is a {@link NativeError}; none leaves a descriptor behind.
 */
export { NativeError, projectRoot, type Attachment, type MapInfo, type NativeErrorCode } from './addon.js';
export * from './btf.js';
export type * from './layout.js';
export * from './lock.js';
export * from './map.js';
export * from './netns.js';
export * from './object.js';
