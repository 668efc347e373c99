/** TCPRoute of SMI: ports that TrafficTargets name. It does nothing by itself. */
import { differs, usedFields, works, type FieldTable } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { routeKey } from './index-keys.js';
import { smiKind } from './smi-kind.js';
import { checkVersion, writtenFields } from './specs.js';

export const smiTcpRouteFields: FieldTable = {
  'matches.name': works,
  'matches.ports': differs('ports of the pods, not of their Services; without any, all ports'),
};

export const smiTcpRouteKind = smiKind(
  'SmiTCPRoute',
  { kind: 'TCPRoute', group: 'specs.smi-spec.io', plural: 'tcproutes' },
  {
    dependents({ namespace, name }, registry, recompile) {
      recompile.objects(registry.trafficTargetsOf(routeKey('TCPRoute', namespace, name)));
    },
    compile(object) {
      if (object.invalid !== undefined) return { resources: [] };
      checkVersion(object);
      return {
        resources: [],
        remarks: fieldRemarks(usedFields(writtenFields(object), smiTcpRouteFields)),
      };
    },
  },
);
