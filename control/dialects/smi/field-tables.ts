/** The table of fields of each kind of SMI, by `<group>/<kind>`. */
import type { FieldTable } from '../fields.js';
import { httpRouteGroupFields } from './http-route-group.js';
import { smiTcpRouteFields } from './tcp-route.js';
import { trafficSplitFields } from './traffic-split.js';
import { trafficTargetFields } from './traffic-target.js';
import { smiUdpRouteFields } from './udp-route.js';

export const smiFieldTables: Readonly<Record<string, FieldTable>> = {
  'split.smi-spec.io/TrafficSplit': trafficSplitFields,
  'specs.smi-spec.io/HTTPRouteGroup': httpRouteGroupFields,
  'specs.smi-spec.io/TCPRoute': smiTcpRouteFields,
  'specs.smi-spec.io/UDPRoute': smiUdpRouteFields,
  'access.smi-spec.io/TrafficTarget': trafficTargetFields,
};
