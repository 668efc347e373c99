/** Parts of manifests that many tests have in common. */

/** The Gateway of a waypoint. */
export const gatewayManifest = (namespace: string, name = 'wp'): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: ${name}, namespace: ${namespace} }
spec: { gatewayClassName: weft-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
`;

/** The Service `shop/api` and its waypoint. @param ports of the Service */
export const shopManifest = (ports = '{ port: 80 }'): string => `---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: shop, labels: { weft.dev/waypoint: wp } }
spec: { clusterIP: 10.96.0.1, ports: [${ports}] }
${gatewayManifest('shop')}`;

/** Row 1 of docs/security.md: the bank, whose Service has a waypoint, and a tenant whose pod has the labels of the bank's. */
export const bankAndEvil = `
apiVersion: v1
kind: Namespace
metadata: { name: bank, labels: { weft.dev/mesh: enabled, weft.dev/waypoint: waypoint } }
${gatewayManifest('bank', 'waypoint')}---
apiVersion: v1
kind: Service
metadata: { name: api, namespace: bank }
spec: { selector: { app: api }, clusterIP: 10.96.0.1, ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: api-1, namespace: bank, labels: { app: api, version: v1 } }
spec: { nodeName: n1, serviceAccountName: api }
status: { podIPs: [{ ip: 10.0.0.1 }] }
---
apiVersion: v1
kind: Namespace
metadata: { name: evil, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Pod
metadata: { name: api-1, namespace: evil, labels: { app: api, version: v1 } }
spec: { nodeName: n1, serviceAccountName: api }
status: { podIPs: [{ ip: 10.0.0.2 }] }
`;
