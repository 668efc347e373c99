/** Documents of the aggregated API by which clients discover it. They are the same for everybody. */
import type { ApiGroup } from './api-group.js';

type Discovered = Pick<ApiGroup, 'group' | 'version' | 'resources'>;

const openapi = { swagger: '2.0', info: { title: 'Weft', version: 'v1alpha1' }, paths: {}, definitions: {} };

/** The documents of these groups, by path. */
export function discoveryDocuments(groups: readonly Discovered[]): Readonly<Record<string, object>> {
  const all = groups.map(({ group, version, resources }) => {
    const ofVersion = { groupVersion: `${group}/${version}`, version };
    return {
      resources,
      ofVersion,
      ofGroup: { name: group, versions: [ofVersion], preferredVersion: ofVersion },
    };
  });
  const documents: Record<string, object> = {
    '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: all.map(({ ofGroup }) => ofGroup) },
    '/openapi/v2': openapi,
    '/openapi/v3': { paths: {} },
  };
  for (const { resources, ofVersion, ofGroup } of all) {
    documents[`/apis/${ofGroup.name}`] = { kind: 'APIGroup', apiVersion: 'v1', ...ofGroup };
    documents[`/apis/${ofVersion.groupVersion}`] = {
      kind: 'APIResourceList',
      apiVersion: 'v1',
      groupVersion: ofVersion.groupVersion,
      resources: resources.map((one) => ({ singularName: '', ...one })),
    };
  }
  return documents;
}
