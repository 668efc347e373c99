/** Limits and windows of the waypoint's HTTP/2 connections. */
import type { ConnectionOptions } from '../../http2/http2.js';
import type { WaypointLimits } from '../limits.js';

const streamWindowBytes = 1 << 20;
const connectionWindowBytes = 8 << 20;
const frameBytesMax = 16 << 10;
/**
 * The engine's limits of one header block; a connection has one at a time. The peer learns the bytes as SETTINGS_MAX_HEADER_LIST_SIZE. Beyond
 * these the engine resets the stream. Between these and the waypoint's own limits (limits.ts) a request gets 431, and a response becomes 502.
 */
const headerListBytesMax = 256 << 10;
const headerFieldsMax = 2_000;

export const serverOptions = (limits: WaypointLimits): ConnectionOptions => ({
  role: 'server',
  maxConcurrentStreams: limits.http2StreamsMax,
  streamWindowBytes,
  connectionWindowBytes,
  frameBytesMax,
  headerListBytesMax,
  headerFieldsMax,
  backlogBytesMax: limits.backlogBytesMax,
  settingsTimeoutMsMax: limits.headTimeoutMsMax,
  headerBlockTimeoutMsMax: limits.headTimeoutMsMax,
});

export const clientOptions = (limits: WaypointLimits): ConnectionOptions => ({
  ...serverOptions(limits),
  role: 'client',
  maxConcurrentStreams: 0,
});
