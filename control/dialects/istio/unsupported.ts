/** Kinds of Istio that configure Envoy itself, or a part that Weft does not have. They are read so that their status says so. */
import type { IstioKind, IstioObject } from '../../objects/objects.js';
import type { Kind, KindAddress } from '../../kinds/kind.js';
import type { Raw } from '../../kinds/metadata.js';
import { istioKind } from './istio-kind.js';

/** Why Weft does nothing with a kind, and what does the same. */
export const unsupportedMessages = {
  EnvoyFilter:
    'Weft has no Envoy whose configuration could be patched. Rate limits, header changes, timeouts, retries and fault injection are sections of a TrafficPolicy or filters of an HTTPRoute',
  ProxyConfig:
    'workloads have no proxy of their own. Waypoints are configured by annotations and the parametersRef of their Gateway',
  WasmPlugin:
    'waypoints run no plugins. Filters of an HTTPRoute and sections of a TrafficPolicy do what common plugins do',
  TrafficExtension:
    'waypoints run no plugins. Filters of an HTTPRoute and sections of a TrafficPolicy do what common plugins do',
  IstioGateway:
    'Weft has no ingress gateway of this API. A Gateway of gateway.networking.k8s.io of your ingress controller takes its place',
} as const;

const unsupported = <K extends IstioKind>(
  kind: K,
  address: Pick<KindAddress, 'group' | 'versions' | 'plural' | 'kind'>,
  message: string,
): Kind<IstioObject<K>> => {
  const all = istioKind(kind, address, {
    compile: () => ({ resources: [], problem: { reason: 'Unsupported', message } }),
  });
  return {
    ...all,
    // Nothing reads the spec, which may be large. A WasmPlugin is not valid without its url.
    pickFields(raw) {
      const { spec, ...rest } = raw as Raw<{ readonly spec?: { readonly url?: unknown } }>;
      return all.pickFields({ ...rest, spec: spec?.url === undefined ? {} : { url: spec.url } });
    },
  };
};

export const envoyFilterKind = unsupported(
  'EnvoyFilter',
  { group: 'networking.istio.io', versions: ['v1alpha3'], plural: 'envoyfilters' },
  unsupportedMessages.EnvoyFilter,
);
export const proxyConfigKind = unsupported(
  'ProxyConfig',
  { group: 'networking.istio.io', versions: ['v1beta1'], plural: 'proxyconfigs' },
  unsupportedMessages.ProxyConfig,
);
export const wasmPluginKind = unsupported(
  'WasmPlugin',
  { group: 'extensions.istio.io', versions: ['v1alpha1'], plural: 'wasmplugins' },
  unsupportedMessages.WasmPlugin,
);
export const trafficExtensionKind = unsupported(
  'TrafficExtension',
  { group: 'extensions.istio.io', versions: ['v1alpha1'], plural: 'trafficextensions' },
  unsupportedMessages.TrafficExtension,
);
export const istioGatewayKind = unsupported(
  'IstioGateway',
  {
    kind: 'Gateway',
    group: 'networking.istio.io',
    versions: ['v1', 'v1beta1', 'v1alpha3'],
    plural: 'gateways',
  },
  unsupportedMessages.IstioGateway,
);
