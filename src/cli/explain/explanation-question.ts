/** The question for what concerns two ends, and the form of its response. */
import { WeftError } from '../../base/errors.js';
import { isRecord } from '../../base/record.js';
import { meshEnds, type EncodedMeshResource, type ExplainedMesh } from '../../model/explained-mesh.js';
import type { Ends } from '../../state/mesh-part.js';
import type { ControlQuestion } from '../control-admin.js';

const isText = (one: unknown): one is string => typeof one === 'string';
const textsOf = (value: unknown): readonly string[] => (Array.isArray(value) ? value.filter(isText) : []);

/** Checks the form of a response. Error: WEFT_ADMIN. */
function explainedMesh(value: unknown): ExplainedMesh {
  const isResource = (one: unknown): one is EncodedMeshResource =>
    isRecord(one) && [one['typeUrl'], one['name'], one['receiver'], one['value']].every(isText);
  const [resources, trustDomain, rootNamespace] = isRecord(value)
    ? [value['resources'], value['trustDomain'], value['rootNamespace']]
    : [];
  if (
    !isRecord(value) ||
    !Array.isArray(resources) ||
    !resources.every(isResource) ||
    !isText(trustDomain) ||
    !isText(rootNamespace)
  )
    throw new WeftError('WEFT_ADMIN', 'the control plane is of another version: what it says cannot be read');
  return {
    resources,
    trustDomain,
    rootNamespace,
    withoutAddress: textsOf(value['withoutAddress']),
    waypoints: textsOf(value['waypoints']),
    hidden: textsOf(value['hidden']),
    // Absent: of a control plane of an earlier version.
    ends: meshEnds.filter((one) => textsOf(value['ends']).includes(one)),
  };
}

/**
 * What concerns two ends.
 * @param namespace in which the caller has the right to ask; undefined: in all
 */
export const explanationQuestion = (
  { source, identity, destination }: Ends,
  namespace: string | undefined,
): ControlQuestion<ExplainedMesh> => ({
  does: 'say what concerns these two',
  resource: 'explanations',
  query: { namespace, sinceMs: 0 },
  parameters: {
    ...(identity === undefined ? { source: source ?? '' } : { identity }),
    destination,
  },
  answer: ({ items: [item] }) => explainedMesh(item),
});
