/** Events about objects that cannot be read as they are written: `kubectl describe` and `kubectl get events` show them. Pure. */
import { createHash } from 'node:crypto';
import { closedMeans } from '../compile/closed.js';
import { objectKey } from '../compile/compile.js';
import type { MeshObject } from '../compile/objects.js';
import { problemText, type ObjectProblems } from '../compile/setting-problems.js';
import { apiVersionOf } from '../source/kinds.js';
import type { ObjectTrouble } from '../source/kubernetes.js';
import type { Write } from './writer.js';

/** As the API server takes them (core/v1, Event). */
const messageCharsMax = 1024;
const component = 'weft-control';

/** One per object and message, by a name that says which: written again it is the same. */
function eventWrite(object: MeshObject, reason: string, text: string, timestamp: string): Write {
  const { name, namespace, uid } = object.metadata;
  // Events about objects without a namespace are in the default one (core/v1, Event).
  const place = namespace ?? 'default';
  const message = text.slice(0, messageCharsMax);
  const hash = createHash('sha256')
    .update(`${objectKey(object)} ${uid} ${message}`)
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
        kind: object.kind,
        name,
        ...(namespace === undefined ? {} : { namespace }),
        ...(uid === undefined ? {} : { uid }),
      },
      type: 'Warning',
      reason,
      message,
      source: { component },
      reportingComponent: component,
      count: 1,
      firstTimestamp: timestamp,
      lastTimestamp: timestamp,
    },
  };
}

export const refusedEvent = ({ object, message }: ObjectTrouble, timestamp: string): Write =>
  eventWrite(object, 'CannotBeRead', `${message}; ${closedMeans(object.kind)}`, timestamp);

export const settingEvent = (found: ObjectProblems, timestamp: string): Write =>
  eventWrite(found.object, 'UnknownValue', problemText(found), timestamp);
