/** Merges the settings of a Service's ports from the objects that may set them. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import {
  serviceSettingsOf,
  type ReadSettings,
  type ServicePolicy,
  type ServiceSettings,
  type SettingName,
} from '../../src/model/service-policy.js';
import type { MeshObject, ServiceObject } from '../objects/objects.js';
import type { Registry } from '../registry/registry.js';
import { serviceKeyOf, tcpPorts } from './service.js';
import type { WaypointName } from './waypoints.js';

/** Settings with their object, as `<Kind> <namespace>/<name>`. */
export interface Layer {
  readonly origin: string;
  readonly settings: ServiceSettings;
}

interface Merged {
  readonly settings: ServiceSettings;
  /** The origin of each field that is set. */
  readonly origins: ServicePolicy['origins'];
}

/** Merges settings field by field. @param layers the least specific first; the last that sets a field wins */
export function mergeSettings(layers: readonly Layer[]): Merged {
  const settings = Object.assign({}, ...layers.map((layer) => layer.settings)) as ServiceSettings;
  const origins = (Object.keys(settings) as SettingName[]).sort().map((setting) => ({
    setting,
    object: layers.findLast((layer) => layer.settings[setting] !== undefined)?.origin ?? '',
  }));
  return { settings, origins };
}

/**
 * The policies of a Service's TCP ports. A port without settings has none. The layers, the least specific first: MeshSettings, the
 * waypoint's Gateway, the Service's Namespace, the Service, its port. No other object changes the policy.
 * @param waypoint the waypoint, whose Gateway admits the Service
 */
export function servicePolicies(
  service: ServiceObject,
  waypoint: WaypointName,
  registry: Pick<Registry, 'meshSettings' | 'gateway' | 'namespace'>,
): ServicePolicy[] {
  const own = readOf(service);
  const shared = [registry.meshSettings, registry.gateway(waypoint), registry.namespace(namespaceOf(service))]
    .filter((object) => object !== undefined)
    .map((object) => layerOf(object, readOf(object).settings));
  const layers = [...shared, layerOf(service, own.settings)];
  return tcpPorts(service).flatMap(({ name, port }) => {
    const ofPort = { ...own.ports.get(String(port)), ...(name === undefined ? {} : own.ports.get(name)) };
    const { settings, origins } = mergeSettings([
      ...layers,
      { origin: `${nameOf(service)} port ${port}`, settings: ofPort },
    ]);
    return origins.length === 0 ? [] : [{ service: serviceKeyOf(service), port, origins, ...settings }];
  });
}

const readOf = (object: MeshObject): ReadSettings => serviceSettingsOf(object.metadata.annotations);
const layerOf = (object: MeshObject, settings: ServiceSettings): Layer => ({
  origin: nameOf(object),
  settings,
});
const nameOf = ({ kind, metadata: { namespace, name } }: MeshObject): string =>
  `${kind} ${namespace === undefined ? name : `${namespace}/${name}`}`;
