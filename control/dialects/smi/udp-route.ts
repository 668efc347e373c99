/** UDPRoute of SMI. It is read so that its status says that it has no effect. */
import { nothing, type FieldTable } from '../fields.js';
import { smiKind } from './smi-kind.js';

const because = 'Weft carries TCP. UDP of pods in the mesh is neither relayed nor checked';
export const smiUdpRouteFields: FieldTable = { '': nothing(because, 'a NetworkPolicy') };

export const smiUdpRouteKind = smiKind(
  'SmiUDPRoute',
  { kind: 'UDPRoute', group: 'specs.smi-spec.io', plural: 'udproutes' },
  {
    compile: () => ({
      resources: [],
      problem: { reason: 'Unsupported', message: `${because}: use a NetworkPolicy` },
    }),
  },
);
