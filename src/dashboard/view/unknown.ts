/** What is shown in place of what could not be read. Pure. */
import type { MeshSnapshot, SnapshotPart } from '../../model/mesh-snapshot.js';
import { unknownText } from './format.js';

/** The reasons stand above each view. */
export const notKnownText = 'not known: see above';

export const isUnknown = ({ unknown = [] }: Pick<MeshSnapshot, 'unknown'>, part: SnapshotPart): boolean =>
  unknown.includes(part);

/** `text`, unless the part that it is about could not be read. */
export const ifKnown = (
  snapshot: Pick<MeshSnapshot, 'unknown'>,
  part: SnapshotPart,
  text: string,
  otherwise = unknownText,
): string => (isUnknown(snapshot, part) ? otherwise : text);
