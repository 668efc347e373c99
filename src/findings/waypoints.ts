/** Finds Services and namespaces whose labels name a waypoint that does not serve them: traffic to them is refused. Pure. */
import { admitsNamespace } from '../kubernetes/allowed-routes.js';
import type { Finding } from './finding.js';
import { labelsOf, namespaceOf } from '../model/labels.js';
import type { CheckedClass, CheckedGateway, Labeled } from './objects.js';

const controller = 'weft.dev/waypoint';
const ownClass = 'weft-waypoint';

/** `<namespace>/<name>` of the waypoint that the labels name. Istio's labels count if Weft's are absent. */
export function waypointNamedBy(object: Labeled, own: string): string | undefined {
  const labels = labelsOf(object);
  const name = labels['weft.dev/waypoint'] || labels['istio.io/use-waypoint'];
  if (!name || name === 'none') return undefined;
  return `${labels['weft.dev/waypoint-namespace'] || labels['istio.io/use-waypoint-namespace'] || own}/${name}`;
}

const byIstio = (object: Labeled): boolean => !labelsOf(object)['weft.dev/waypoint'];

/**
 * Findings of labels that name a waypoint.
 * @param classes the known GatewayClasses; for others the class name decides whether it is Weft's
 */
export function waypointFindings(objects: {
  readonly gateways: readonly CheckedGateway[];
  readonly classes?: readonly CheckedClass[];
  readonly namespaces: readonly Labeled[];
  readonly services: readonly Labeled[];
}): Finding[] {
  const gateways = new Map(
    objects.gateways.map((gateway) => [`${namespaceOf(gateway)}/${gateway.metadata.name}`, gateway]),
  );
  const controllers = new Map(
    (objects.classes ?? []).map(({ metadata, spec }) => [metadata.name, spec.controllerName]),
  );
  const isOurs = ({ spec: { gatewayClassName } }: CheckedGateway): boolean => {
    const by = controllers.get(gatewayClassName);
    return by === undefined ? gatewayClassName === ownClass : by === controller;
  };
  const labels = new Map(objects.namespaces.map((one) => [one.metadata.name, labelsOf(one)]));
  const check = (one: Labeled, own: string, who: string): Finding[] => {
    const whom = waypointNamedBy(one, own);
    if (whom === undefined) return [];
    const said = `${who} names the waypoint ${whom}${byIstio(one) ? ' (label istio.io/use-waypoint)' : ''}`;
    const fail = (what: string, help: string): Finding[] => [
      {
        level: 'fail',
        what: `${said}, ${what}`,
        help: `its clients are refused: ${help}, or remove the label`,
      },
    ];
    const gateway = gateways.get(whom);
    if (!gateway)
      return fail('and there is no Gateway of that name', 'create the waypoint (weft waypoint apply)');
    if (!isOurs(gateway))
      return fail(
        `whose Gateway is of class ${gateway.spec.gatewayClassName}, which is not Weft's`,
        `name a Gateway of class ${ownClass}`,
      );
    if (admitsNamespace(namespaceOf(gateway), gateway.spec.listeners, own, labels.get(own) ?? {})) return [];
    return fail(
      'which does not admit it: allowedRoutes.namespaces of its HBONE listener',
      'admit its namespace in allowedRoutes.namespaces',
    );
  };
  return [
    ...objects.namespaces.flatMap((one) => check(one, one.metadata.name, `namespace ${one.metadata.name}`)),
    ...objects.services.flatMap((one) =>
      check(one, namespaceOf(one), `Service ${namespaceOf(one)}/${one.metadata.name}`),
    ),
  ];
}
