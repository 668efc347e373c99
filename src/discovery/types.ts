/** Type URLs of the resources that nodes and waypoints subscribe to. */
export const typeUrls = {
  address: 'type.googleapis.com/istio.workload.Address',
  authorization: 'type.googleapis.com/istio.security.Authorization',
  nodePod: 'type.googleapis.com/weft.v1.NodePod',
  uncapturedPod: 'type.googleapis.com/weft.v1.UncapturedPod',
  enrolledNamespace: 'type.googleapis.com/weft.v1.EnrolledNamespace',
  route: 'type.googleapis.com/weft.v1.Route',
  servicePolicy: 'type.googleapis.com/weft.v1.ServicePolicy',
  waypoint: 'type.googleapis.com/weft.v1.Waypoint',
  trust: 'type.googleapis.com/weft.v1.Trust',
} as const;
/**
 * A waypoint that subscribes to names of this type, which are URIs of key sets of token issuers, asks the control plane to fetch them again. No
 * resource is sent: the policies that name the sets are sent if the keys have changed. The request goes by the waypoint's own stream, because
 * each replica of the control plane fetches for itself. A control plane that does not know the type sends an empty response.
 */
export const keySetType = 'type.googleapis.com/weft.v1.KeySet';
/** Extension of istio.workload.Service for session affinity; other implementations ignore it. */
export const affinityExtension = 'weft.dev/session-affinity';
export const affinityType = 'type.googleapis.com/weft.v1.SessionAffinity';
/** Extension of istio.workload.Service and .Workload that limits the clients for which their addresses are valid. */
export const scopeExtension = 'weft.dev/scope';
export const scopeType = 'type.googleapis.com/weft.v1.Scope';
export type TypeUrl = (typeof typeUrls)[keyof typeof typeUrls];

export const grpcLimits = {
  messageBytesMax: 200 << 20,
  /** Maximum size of a request from an authenticated caller: enough for the versions of some 400 000 resources. */
  requestBytesMax: 32 << 20,
  streamsPerConnectionMax: 64,
  /** Clients ping every 30 s. */
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
} as const;
