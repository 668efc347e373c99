/** What is shown in place of what could not be read. Pure. */
import type { MeshSnapshot, SnapshotPart } from '../../model/mesh-snapshot.js';
import { unknownText } from './format.js';

/** The reasons stand above each view. */
export const notKnownText = 'not known: see above';

export const isUnknown = ({ unknown = [] }: Pick<MeshSnapshot, 'unknown'>, part: SnapshotPart): boolean =>
  unknown.includes(part);

/** Whether something of the part could not be read, or all of it: what is not in it may still be there. */
export const isIncomplete = (
  snapshot: Pick<MeshSnapshot, 'unknown' | 'partial'>,
  part: SnapshotPart,
): boolean => isUnknown(snapshot, part) || snapshot.partial?.includes(part) === true;

/** What is said of a list or a sum that is not all. */
export const inPartText = 'in what could be read';

/** `text`, with the remark that it is not of all, if it is not. */
export const ofPart = (
  snapshot: Pick<MeshSnapshot, 'unknown' | 'partial'>,
  part: SnapshotPart,
  text: string,
): string => (snapshot.partial?.includes(part) === true ? `${text}, ${inPartText}` : text);

/** `text`, unless the part that it is about could not be read. */
export const ifKnown = (
  snapshot: Pick<MeshSnapshot, 'unknown'>,
  part: SnapshotPart,
  text: string,
  otherwise = unknownText,
): string => (isUnknown(snapshot, part) ? otherwise : text);
