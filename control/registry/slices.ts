/** EndpointSlices of a Service. Pure. */
import { labelsOf } from '../../src/model/labels.js';
import { serviceNameLabel } from '../compile/endpoint-slice.js';
import type { EndpointSliceObject } from '../objects/objects.js';
import type { Registry } from './registry.js';

/** The EndpointSlices of a Service, whether it exists or not. */
export const slicesNaming = (
  namespace: string,
  service: string,
  { indexes }: Pick<Registry, 'indexes'>,
): readonly EndpointSliceObject[] =>
  indexes.EndpointSlice.in(namespace).filter((slice) => labelsOf(slice)[serviceNameLabel] === service);
