/**
 * The mesh on a real cluster, from its installation to its end: the cluster that KUBECONFIG names, else one of this machine
 * (test/cluster/up), which is taken down again. The tests share it, and each begins with what the one before left: they run in
 * the order of these imports.
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
