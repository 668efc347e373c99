/** Objects for test/control/aggregated-api.test.ts: two pods, of which one uses a waypoint, and who may read what about them. */

export const podText = (namespace: string, name: string, of = 'default'): string => `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: ${namespace}, labels: { app: ${name} } }
spec:
  nodeName: n1
  serviceAccountName: ${of}
  automountServiceAccountToken: false
  tolerations: [{ operator: Exists }]
  containers: [{ name: app, image: app }]
`;

export const callers = `${podText('shop', 'web')}${podText('bank', 'vault')}---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop, labels: { weft.dev/waypoint: wp } }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: wp, namespace: shop }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: shop-viewer, namespace: shop }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: shopper }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: edges, namespace: bank }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: weft-edges-reader }
subjects: [{ kind: ServiceAccount, name: default, namespace: bank }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: edges }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: weft-edges-reader }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: auditor }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: forwarder, namespace: weft-system }
rules: [{ apiGroups: [''], resources: [pods, pods/portforward], verbs: [get, list, create] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: forwarder, namespace: weft-system }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: forwarder }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: forwarder }]
`;
