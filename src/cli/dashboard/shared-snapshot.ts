/** The snapshot as it is written to a file that is shared. Pure. */
import type { MeshSnapshot } from '../../model/mesh-snapshot.js';

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** Paths of this machine in texts. Names of objects have no slash at their beginning. */
const withoutDirectories = (text: string): string =>
  text.replaceAll(/(^|[\s(])\/[^\s:,)]*\/([^\s:,)/]+)/g, '$1$2');

/** Without directories of this machine, which say who works on it and where. */
export const withoutPaths = (snapshot: MeshSnapshot): MeshSnapshot => ({
  ...snapshot,
  changes: snapshot.changes.map((one) => (one.file === undefined ? one : { ...one, file: nameOf(one.file) })),
  problems: snapshot.problems.map((one) => ({ ...one, what: withoutDirectories(one.what) })),
  incomplete: snapshot.incomplete.map(withoutDirectories),
});
