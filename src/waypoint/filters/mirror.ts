/** Sends a copy of a share of the requests to another backend (Gateway API, HTTPRequestMirrorFilter). */
import { decodeTarget, encodeTarget } from '../../discovery/codec/backend-target.js';
import type { MirrorFilter } from '../../discovery/gen/weft.js';
import type { FilterKind } from './filter.js';

export const mirror: FilterKind<MirrorFilter> = {
  stage: 'route',
  compile({ backend, numerator, denominator }) {
    if (denominator === 0) throw new Error('mirror of a fraction without denominator');
    const target = decodeTarget(backend);
    return {
      onRequest(request) {
        if (Math.random() * denominator < numerator) request.mirror(target);
        return undefined;
      },
    };
  },
  mapBackends: (config, map) => ({ ...config, backend: encodeTarget(map(decodeTarget(config.backend))) }),
};
