/** Codec of the backends of routes and of filters. */
import type { BackendTarget } from '../../model/route.js';
import type { ServiceKey } from '../../model/workload.js';
import type * as pb from '../gen/weft.js';
import { need, portNumber } from './decoding.js';

export const encodeTarget = (target: BackendTarget): pb.BackendTarget =>
  target.kind === 'service'
    ? { service: target.service, port: target.port, invalid: '' }
    : { service: '', port: 0, invalid: target.reason || 'invalid' };

export function decodeTarget(message: pb.BackendTarget | undefined): BackendTarget {
  if (!message) throw new Error('backend without target');
  if (message.invalid !== '') return { kind: 'invalid', reason: message.invalid };
  return {
    kind: 'service',
    service: need(message.service, 'service of a backend') as ServiceKey,
    port: portNumber(message.port),
  };
}
