/**
 * Watches of taps, for a user whom the front proxy named. The user's right is checked when the tap begins, and each minute: a tap whose reader
 * may no longer read, or may not be asked about, ends.
 */
import { errorText } from '../../src/base/errors.js';
import { observeApi, tapResource } from '../../src/model/observe-api.js';
import type { TapEvent } from '../../src/model/mesh-snapshot.js';
import { tapQueryOf } from '../../src/model/tap.js';
import { tapStream } from '../taps/tap-lines.js';
import { tapReaderOf } from '../taps/tap-reader.js';
import { tooManyTaps, type TapSource } from '../taps/tap-source.js';
import type { ApiResponse } from './api-group.js';
import { forbidden, type Authorizer, type ResourceAttributes } from './authorizer.js';
import type { User } from './front-proxy.js';
import { readableNamespaces } from './readable-namespaces.js';
import { StatusError } from './status.js';
import { namespacesOfEvent, namespacesOfFilter, tapEventForReader } from './tap-view.js';

const tapRecheckMs = 60_000;
/** Namespaces of peers whose readability is asked and remembered until the next check. */
const namespacesMax = 1_024;

export interface TapRequestsParts {
  readonly taps: TapSource;
  readonly authorizer: Pick<Authorizer, 'isAllowed'>;
  readonly rootNamespace: string;
  readonly onLimit: (limit: string) => void;
  readonly recheckMs?: number;
}

const attributesOf = (namespace: string | undefined): ResourceAttributes => ({
  ...observeApi,
  resource: tapResource,
  verb: 'watch',
  namespace: namespace ?? '',
});

/** Of the namespaces of peers, those that the reader may know. Asked once, until `forget`. */
class KnownNamespaces {
  readonly #known = new Map<string, boolean>();

  constructor(
    private readonly own: string,
    private readonly mayWatch: (namespace: string | undefined) => Promise<boolean>,
    private readonly onLimit: (limit: string) => void,
  ) {}

  forget(): void {
    this.#known.clear();
  }

  async of(namespaces: readonly string[]): Promise<ReadonlySet<string>> {
    const asked = new Set(namespaces);
    asked.delete('');
    asked.delete(this.own);
    // Programs say the namespaces of peers: those beyond the limit are not asked for, and are not readable.
    const unknown = [...asked]
      .filter((one) => !this.#known.has(one))
      .slice(0, namespacesMax - this.#known.size);
    if (unknown.length > 0) {
      const { named } = await readableNamespaces(unknown, this.mayWatch, this.onLimit);
      for (const one of unknown) this.#known.set(one, named.has(one));
    }
    return new Set([this.own, ...[...asked].filter((one) => this.#known.get(one) === true)]);
  }
}

export class TapRequests {
  constructor(private readonly parts: TapRequestsParts) {}

  /** Errors: StatusError. @param namespace undefined: all */
  async watch(user: User, namespace: string | undefined, parameters: URLSearchParams): Promise<ApiResponse> {
    const { taps, authorizer, rootNamespace, onLimit, recheckMs = tapRecheckMs } = this.parts;
    const mayWatch = (of: string | undefined): Promise<boolean> =>
      authorizer.isAllowed(user, attributesOf(of));
    if (!(await mayWatch(namespace))) throw forbidden(user, attributesOf(namespace));
    if (!['true', '1'].includes(parameters.get('watch') ?? ''))
      throw new StatusError('MethodNotAllowed', `${tapResource} are watched: there is no list of them`);
    const read = tapQueryOf(parameters, namespace);
    if ('problem' in read) throw new StatusError('BadRequest', read.problem);
    const { filter } = read.query;
    if (namespace !== undefined)
      for (const one of namespacesOfFilter(filter, rootNamespace))
        if (one !== namespace && !(await mayWatch(one))) throw forbidden(user, attributesOf(one));
    const reading = taps.open(read.query, tapReaderOf(user.user, namespace));
    if (!reading) throw new StatusError('TooManyRequests', tooManyTaps, 10);

    const known = namespace === undefined ? undefined : new KnownNamespaces(namespace, mayWatch, onLimit);
    // Closed at once: a reader who does not read would not see the end, and keep the tap on.
    const end = (why: string): void => {
      reading.queue.end(why);
      reading.close();
    };
    const checks = setInterval(() => {
      known?.forget();
      mayWatch(namespace).then(
        (isAllowed) => {
          if (!isAllowed) end(forbidden(user, attributesOf(namespace)).message);
        },
        (error: unknown) => end(`your right to read could not be checked again: ${errorText(error)}`),
      );
    }, recheckMs).unref();
    const shown = async (events: readonly TapEvent[]): Promise<readonly TapEvent[]> => {
      if (!known) return events;
      const names = await known.of(events.flatMap(namespacesOfEvent));
      return events.map((event) => tapEventForReader(event, names, rootNamespace));
    };
    const { lines, close } = tapStream(reading, shown);
    return {
      body: {},
      stream: {
        lines,
        close: () => {
          clearInterval(checks);
          close();
        },
      },
    };
  }
}
