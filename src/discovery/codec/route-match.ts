/** Codec of the matches of routes and of filters (weft.v1.RouteMatch): the control plane encodes, waypoints decode. */
import type { PathMatch, RouteMatch, ValueMatch } from '../../model/route.js';
import type * as pb from '../gen/weft.js';
import { need, oneOf, present } from './decoding.js';

export const pathKinds: readonly PathMatch['kind'][] = [
  'exact',
  'prefix',
  'string-prefix',
  'regex',
  'suffix',
];
export const valueKinds: readonly ValueMatch['kind'][] = ['exact', 'regex', 'prefix', 'present'];

export const encodeMatch = ({
  path,
  method = '',
  headers,
  query,
  unreadable,
  ignorePathCase,
  withoutHeaders = [],
  clients = [],
}: RouteMatch): pb.RouteMatch => ({
  pathKind: path?.kind ?? '',
  path: path?.value ?? '',
  method,
  headers: [...headers],
  query: [...query],
  unreadable: unreadable === true,
  ignorePathCase: ignorePathCase === true,
  withoutHeaders: [...withoutHeaders],
  clients: [...clients],
});

/** Throws if the kind is unknown or the name is empty. */
export const decodeValueMatch = ({ kind, name, value }: pb.ValueMatch): ValueMatch => ({
  kind: oneOf(valueKinds, kind, 'value match'),
  name: need(name, 'name of a value match'),
  value,
});

/** Throws if a part of the match is not understood. */
export const decodeMatch = ({
  pathKind,
  path,
  method,
  headers,
  query,
  unreadable,
  ignorePathCase,
  withoutHeaders,
  clients,
}: pb.RouteMatch): RouteMatch => ({
  ...(unreadable ? { unreadable } : {}),
  ...(pathKind === '' ? {} : { path: { kind: oneOf(pathKinds, pathKind, 'path match'), value: path } }),
  ...present({ method }),
  headers: headers.map(decodeValueMatch),
  query: query.map(decodeValueMatch),
  ...(ignorePathCase ? { ignorePathCase } : {}),
  ...(withoutHeaders.length > 0 ? { withoutHeaders: withoutHeaders.map(decodeValueMatch) } : {}),
  ...(clients.length > 0 ? { clients } : {}),
});
