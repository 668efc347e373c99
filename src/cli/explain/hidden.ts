/** What is said to a caller who may not read all that decides. Pure. */
import { observeApi } from '../../model/observe-api.js';
import type { Question } from './explain.js';
import { httpOf } from './request.js';
import type { Explanation } from './result.js';

/** The outcome is not known: of a namespace that the caller may not read nothing is told. */
export function hiddenExplanation(question: Question, hidden: readonly string[]): Explanation {
  const { source, identity, destination } = question;
  const [, name = destination, port = '0'] = /^(.*):(\d{1,5})$/.exec(destination) ?? [];
  const right = `the right to list explanations.${observeApi.group}, which ClusterRole weft-edges-reader has`;
  const request = httpOf(question.request);
  return {
    outcome: 'unknown',
    source: {
      name: source ?? identity ?? '',
      ...(identity === undefined ? {} : { identity }),
      addresses: [],
      inMesh: identity !== undefined,
    },
    destination: { name, addresses: [], inMesh: false, port: Number(port) },
    ...(request ? { request: { method: request.method, host: request.host, path: request.path } } : {}),
    ways: [],
    endpoints: [],
    notes: [
      ...hidden.map((one) =>
        one === 'of an address'
          ? `it is decided in a namespace for which you lack ${right}`
          : `it is decided in namespace ${one}, too, for which you lack ${right}`,
      ),
      ...(source === undefined
        ? []
        : ['--identity in place of SOURCE needs no right in the namespace of the client']),
    ],
  };
}
