/** Ends a relayed connection on which no byte moves for as long as its Service's policy says (Envoy: tcp_proxy.idle_timeout). */
import type { Relay } from '../../hbone/relay.js';
import { originOf } from '../../model/service-policy.js';
import type { ClientConnection } from './client-connection.js';

/** Looks this many times in the timeout, so that a connection ends at most a quarter late. */
const looks = 4;
const lookMsMin = 50;

/** Watches the relay until the result is called. The timeout is the one that applied when the relay began. */
export function watchIdleRelay(connection: ClientConnection, relay: Relay): () => void {
  const { context, client, destination } = connection;
  if (destination.kind !== 'service') return () => undefined;
  const { service, port } = destination;
  const settings = context.state.requestSettings(service.key, port, client);
  const { timeouts } = settings;
  const idleMs = timeouts?.tcpIdleMs;
  if (!idleMs) return () => undefined;
  let seen = 0;
  let quietMs = 0;
  const lookMs = Math.max(lookMsMin, idleMs / looks);
  const timer = setInterval(() => {
    const { bytesSent, bytesReceived } = relay.counts();
    const moved = bytesSent + bytesReceived;
    quietMs = moved === seen ? quietMs + lookMs : 0;
    seen = moved;
    if (quietMs < idleMs) return;
    const policy = originOf(settings, 'timeouts');
    if (policy !== undefined)
      context.onAction(
        { feature: 'timeout', mode: timeouts.dryRun ? 'would' : 'did', policy },
        service.namespace,
      );
    if (timeouts.dryRun) return clearInterval(timer);
    relay.cut('idle timeout of the connection');
  }, lookMs);
  timer.unref();
  return () => clearInterval(timer);
}
