/** Type URLs of what nodes and waypoints are told. */
export const typeUrls = {
  address: 'type.googleapis.com/istio.workload.Address',
  authorization: 'type.googleapis.com/istio.security.Authorization',
  nodePod: 'type.googleapis.com/weft.v1.NodePod',
  uncapturedPod: 'type.googleapis.com/weft.v1.UncapturedPod',
  enrolledNamespace: 'type.googleapis.com/weft.v1.EnrolledNamespace',
  route: 'type.googleapis.com/weft.v1.Route',
  trust: 'type.googleapis.com/weft.v1.Trust',
} as const;
/** The extension of istio.workload.Service by which session affinity is told; other nodes leave it alone. */
export const affinityExtension = 'weft.dev/session-affinity';
export const affinityType = 'type.googleapis.com/weft.v1.SessionAffinity';
/** The extension of istio.workload.Service and .Workload that says for whom their addresses count. */
export const scopeExtension = 'weft.dev/scope';
export const scopeType = 'type.googleapis.com/weft.v1.Scope';
export type TypeUrl = (typeof typeUrls)[keyof typeof typeUrls];

export const grpcLimits = {
  messageBytesMax: 200 << 20,
  /** What the control plane reads, of callers that it knows: the versions of some 400 000 resources in one request. */
  requestBytesMax: 32 << 20,
  streamsPerConnectionMax: 64,
  /** Clients ping every 30 s. */
  pingIntervalMs: 30_000,
  pingTimeoutMs: 10_000,
} as const;
