/** A relayed connection, as the limits of its cluster count it: as a request under way and as a connection. */
import type { Reservation } from '../cluster/breaker/circuit-breaker.js';
import type { Cluster } from '../cluster/cluster.js';
import type { Endpoint } from '../cluster/endpoint.js';
import type { ActionObserver } from '../telemetry/request-record.js';
import type { Client } from './client.js';

export class CountedConnection {
  #request: Reservation | undefined;
  #connection: Reservation | undefined;

  constructor(
    private readonly cluster: Cluster,
    private readonly endpoint: Endpoint,
    private readonly client: Client,
    /** Told of each policy whose limit is reached, in dry run or not. */
    private readonly observer: ActionObserver,
  ) {}

  /** Counts the connection. If a limit is reached, nothing is counted, and the result is the reason. */
  take(): string | undefined {
    const { cluster, endpoint, client, observer } = this;
    this.#request = cluster.admit(endpoint, client, observer);
    if (this.#request) this.#connection = cluster.takeConnection(endpoint, client, observer);
    if (this.#connection) return undefined;
    const { why, action } = cluster.overflow;
    if (action) observer.act(action);
    this.release();
    return why;
  }

  /** Further calls do nothing. */
  release(): void {
    if (this.#connection) this.cluster.releaseConnection(this.#connection);
    if (this.#request) this.cluster.release(this.endpoint, this.#request);
    this.#connection = this.#request = undefined;
  }
}
