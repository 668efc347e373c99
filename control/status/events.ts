/** Kubernetes events about invalid objects and changed conditions, as `kubectl describe` and `kubectl get events` show them. Pure. */
import { createHash } from 'node:crypto';
import { closedMeans } from '../compile/closed.js';
import { objectKey } from '../objects/object-key.js';
import type { MeshObject } from '../objects/objects.js';
import { problemText, type ObjectProblems } from '../problems/setting-problems.js';
import { apiKindOf, apiVersionOf } from '../kinds/api.js';
import type { ObjectProblem } from '../source/kubernetes.js';
import type { Write } from '../kubernetes/apply-queue.js';

/** Longest message that the API server accepts (core/v1, Event). */
const messageCharsMax = 1024;
const component = 'weft-control';

export interface EventText {
  readonly type: 'Normal' | 'Warning';
  /** One word, for programs. */
  readonly reason: string;
  readonly message: string;
}
/** How often and when the event has occurred. Times in RFC 3339. */
export interface EventTimes {
  readonly count: number;
  readonly first: string;
  readonly last: string;
}

/**
 * The write of an event. Object, reason and message determine the event's name, so that a repeated write updates the same event.
 */
export function eventWrite(
  object: MeshObject,
  { type, reason, message: text }: EventText,
  { count, first, last }: EventTimes,
): Write {
  const { name, namespace, uid } = object.metadata;
  // Events about cluster-scoped objects are in the namespace `default` (core/v1, Event).
  const place = namespace ?? 'default';
  const message = text.slice(0, messageCharsMax);
  const hash = createHash('sha256')
    .update(`${objectKey(object)} ${uid} ${reason} ${message}`)
    .digest('hex')
    .slice(0, 16);
  const event = `${name.slice(0, 200)}.weft-${hash}`;
  return {
    path: `/api/v1/namespaces/${place}/events/${event}`,
    body: {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: event, namespace: place },
      involvedObject: {
        apiVersion: apiVersionOf(object),
        kind: apiKindOf(object.kind),
        name,
        ...(namespace === undefined ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
      },
      type,
      reason,
      message,
      source: { component },
      reportingComponent: component,
      count,
      firstTimestamp: first,
      lastTimestamp: last,
    },
  };
}

const warning = (object: MeshObject, reason: string, message: string, timestamp: string): Write =>
  eventWrite(object, { type: 'Warning', reason, message }, { count: 1, first: timestamp, last: timestamp });

export const refusedEvent = ({ object, message }: ObjectProblem, timestamp: string): Write =>
  warning(object, 'CannotBeRead', `${message}; ${closedMeans(object.kind)}`, timestamp);

export const settingEvent = (found: ObjectProblems, timestamp: string): Write =>
  warning(found.object, 'UnknownValue', problemText(found), timestamp);
