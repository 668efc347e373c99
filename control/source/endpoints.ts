/** Converts Endpoints (v1) to the EndpointSlices to which Kubernetes mirrors them. Pure. */

interface Address {
  readonly ip: string;
  readonly nodeName?: string;
}
export interface EndpointsManifest {
  readonly metadata: {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly subsets?: readonly {
    readonly addresses?: readonly Address[];
    readonly notReadyAddresses?: readonly Address[];
    readonly ports?: readonly object[];
  }[];
}

/** Marks Endpoints that are the lock of a leader election. */
const leaderAnnotation = 'control-plane.alpha.kubernetes.io/leader';

/** One slice per subset, because all addresses of a subset share its ports. No slice for Endpoints that are excluded from mirroring. */
export function slicesOf({ metadata, subsets = [] }: EndpointsManifest): object[] {
  const { name, labels = {}, annotations = {} } = metadata;
  if (labels['endpointslice.kubernetes.io/skip-mirror'] === 'true' || leaderAnnotation in annotations)
    return [];
  return subsets.map(({ addresses = [], notReadyAddresses = [], ports = [] }, index) => ({
    metadata: {
      ...metadata,
      name: `${name}.endpoints-${index}`,
      labels: { ...labels, 'kubernetes.io/service-name': name },
    },
    endpoints: [
      ...addresses.map((one) => endpoint(one, true)),
      ...notReadyAddresses.map((one) => endpoint(one, false)),
    ],
    ports,
  }));
}

const endpoint = ({ ip, nodeName }: Address, ready: boolean): object => ({
  addresses: [ip],
  conditions: { ready },
  ...(nodeName === undefined ? {} : { nodeName }),
});
