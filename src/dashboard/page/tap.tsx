import type { MeshSnapshot } from '../../model/mesh-snapshot.js';
import type { Route } from '../view/route.js';
export function TapView(_: { readonly route: Route; readonly snapshot: MeshSnapshot | undefined }) {
  return <p>…</p>;
}
