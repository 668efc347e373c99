/**
 * Waypoints on a real cluster: the one of KUBECONFIG, or else one on this machine (test/cluster/up), which is removed afterwards. The CRDs are
 * those of the Gateway API's standard channel, from the Go module proxy. The tests share the cluster and depend on the state that earlier tests
 * leave: they run in the order of these imports.
 */
import './waypoint/hooks.js';
import './waypoint/gateway.js';
import './waypoint/routes.js';
import './waypoint/policy.js';
import './waypoint/client-certificates.js';
import './waypoint/replicas.js';
import './waypoint/consent.js';
import './waypoint/rights-and-deletion.js';
