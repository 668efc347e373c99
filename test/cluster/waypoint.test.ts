/**
 * Waypoints on a real cluster: the one that KUBECONFIG names, else one of this machine (test/cluster/up), which is taken down again. The
 * kinds are the Gateway API's published CRDs of the standard channel, by the Go module proxy. The tests share the cluster, and
 * each begins with what the one before left: they run in the order of these imports.
 */
import './waypoint/hooks.js';
import './waypoint/gateway.js';
import './waypoint/routes.js';
import './waypoint/policy.js';
import './waypoint/replicas.js';
import './waypoint/consent.js';
import './waypoint/rights-and-deletion.js';
