/** PeerAuthentication as labels, MeshSettings and AccessPolicies that deny clients without an identity. */
import { fieldsOf, type Fields, type SourceObject } from '../load.js';
import type { PolicyContext } from './authorization-policy.js';
import type { Block } from './block.js';
import { Reader } from './reader.js';

/** Clients without an identity: those of plaintext. */
const withoutIdentity = { notIdentities: ['*'] };
const modeLabel = 'weft.dev/mode';

/** The label that a PeerAuthentication stands for on its Namespace; undefined: none. */
export function modeLabels({ value }: SourceObject): { readonly [modeLabel]: string } | undefined {
  const spec = fieldsOf(value['spec']);
  if (Object.keys(fieldsOf(fieldsOf(spec['selector'])['matchLabels'])).length > 0) return undefined;
  const { mode } = fieldsOf(spec['mtls']);
  if (mode === 'STRICT') return { [modeLabel]: 'strict' };
  return mode === 'PERMISSIVE' || mode === 'DISABLE' ? { [modeLabel]: 'permissive' } : undefined;
}

const namespaceWith = (name: string, labels: Fields): Fields => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels },
});

/** A policy that denies plaintext. */
const denyPlaintext = (name: string, namespace: string, where: Fields, to: readonly Fields[]): Fields => ({
  apiVersion: 'weft.dev/v1alpha1',
  kind: 'AccessPolicy',
  metadata: { name, namespace },
  spec: { action: 'DENY', ...where, rules: [{ from: [withoutIdentity], ...(to.length > 0 ? { to } : {}) }] },
});

export function convertPeerAuthentication(
  block: Block,
  { istioRoot, root, namespaces, sources }: PolicyContext,
): void {
  const { namespace, name, value, errors } = block.source;
  const reader = new Reader(fieldsOf(value['spec']));
  const mode = reader.child('mtls').text('mode') ?? 'UNSET';
  const labels = reader.child('selector').map('matchLabels');
  const selector = Object.keys(labels).length > 0 ? { selector: { matchLabels: labels } } : undefined;
  const portModes = new Map<number, string>();
  const portReader = reader.child('portLevelMtls');
  for (const port of portReader.keys)
    portModes.set(Number(port), portReader.child(port).text('mode') ?? 'UNSET');
  const policyName = `peer-authentication-${name}`;
  const isMesh = namespace === istioRoot && !selector;
  if (errors.length > 0) {
    block.add(denyPlaintext(policyName, isMesh ? root : namespace, selector ?? {}, []));
    for (const error of errors) block.lost('', `${error}: closed: plaintext is denied`);
    return;
  }
  if (mode === 'DISABLE')
    block.differs(
      'mtls.mode',
      'connections between enrolled pods always use mutual TLS; plaintext is accepted, as with PERMISSIVE',
    );
  if ((mode === 'PERMISSIVE' || mode === 'DISABLE') && selector)
    block.lost(
      'selector',
      `in a strict namespace the pods need the label ${modeLabel}=permissive in their template; without it they stay closed to plaintext`,
    );
  const strictPorts = [...portModes].flatMap(([port, one]) => (one === 'STRICT' ? [port] : []));
  const openPorts = [...portModes].flatMap(([port, one]) =>
    one === 'PERMISSIVE' || one === 'DISABLE' ? [port] : [],
  );
  if (isMesh) {
    if (mode === 'STRICT')
      block.add({
        apiVersion: 'weft.dev/v1alpha1',
        kind: 'MeshSettings',
        metadata: { name: 'default', namespace: root },
        spec: { mode: 'strict' },
      });
    else if (mode !== 'UNSET') block.differs('mtls.mode', 'permissive is the default');
  } else if (!selector) {
    const labels = modeLabels(block.source);
    if (labels && sources.some((one) => one.kind === 'Namespace' && one.name === namespace))
      block.info(`the label ${modeLabel}=${labels[modeLabel]} is on the Namespace ${namespace}`);
    else if (labels) {
      const doc = block.add(namespaceWith(namespace, labels));
      block.info(
        `kubectl label namespace ${namespace} ${modeLabel}=${labels[modeLabel]} keeps its other labels`,
        { doc, path: [] },
      );
    }
  } else if (mode === 'STRICT') {
    const to = openPorts.length > 0 ? [{ notPorts: openPorts }] : [];
    const targets = namespace === istioRoot ? namespaces.filter((one) => one !== istioRoot) : [namespace];
    if (namespace === istioRoot)
      block.lost(
        'selector',
        "in Istio's root namespace it selects pods of all namespaces: the policy is written for each namespace that was given. Other namespaces need a copy",
      );
    for (const one of targets) block.add(denyPlaintext(policyName, one, selector, to));
  } else if (strictPorts.length > 0)
    block.add(denyPlaintext(policyName, namespace, selector, [{ ports: strictPorts }]));
  if (openPorts.length > 0 && mode !== 'PERMISSIVE' && mode !== 'DISABLE')
    block.lost(
      'portLevelMtls',
      `ports ${openPorts.join(', ')} stay closed to plaintext where the namespace or the mesh is strict: the annotation weft.dev/exclude-inbound-ports of the pods excludes a port from the mesh`,
    );
  for (const path of reader.rest()) block.lost(path, 'Weft has nothing of the kind');
}
