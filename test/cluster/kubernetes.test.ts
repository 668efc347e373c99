/**
 * The mesh on a real cluster, from installation to uninstall. The cluster is the one of KUBECONFIG, or else one on this machine
 * (test/cluster/up), which is removed afterwards. The tests share the cluster and depend on the state that earlier tests leave: they run in the
 * order of these imports.
 */
import './kubernetes/hooks.js';
import './kubernetes/installation.js';
import './kubernetes/enrollment.js';
import './kubernetes/policy.js';
import './kubernetes/restarts.js';
import './kubernetes/crashes.js';
import './kubernetes/credentials.js';
import './kubernetes/status.js';
import './kubernetes/upgrade-and-uninstall.js';
