/** Reads a snapshot from JSON. Pure. */
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';

const lists = ['programs', 'workloads', 'edges', 'policies', 'problems', 'changes', 'incomplete'] as const;

/** Error: a sentence, if it is none of this version's form. */
export function parseSnapshot(text: string): MeshSnapshot {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('the server did not send JSON');
  }
  if (typeof value !== 'object' || value === null) throw new Error('the server did not send a snapshot');
  const snapshot = value as Partial<MeshSnapshot>;
  if (snapshot.format !== 1)
    throw new Error('the snapshot has a form that this page does not know: reload the page');
  if (typeof snapshot.takenMs !== 'number' || typeof snapshot.mesh?.name !== 'string')
    throw new Error('the server did not send a snapshot');
  for (const name of lists)
    if (!Array.isArray(snapshot[name])) throw new Error(`the snapshot has no list ${name}`);
  if (snapshot.unknown !== undefined && !Array.isArray(snapshot.unknown))
    throw new Error('the snapshot has no list unknown');
  if (snapshot.history !== undefined && !Array.isArray(snapshot.history.points))
    throw new Error('the snapshot has no list history.points');
  return snapshot as MeshSnapshot;
}
