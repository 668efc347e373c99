/** Documents of the aggregated API by which clients discover it. They are the same for everybody. */
import { metricKinds } from '../dialects/smi/metric-resources.js';
import { metricsApiVersion, metricsGroup, metricsVersion } from '../dialects/smi/traffic-metrics.js';

const version = { groupVersion: metricsApiVersion, version: metricsVersion };
const group = { name: metricsGroup, versions: [version], preferredVersion: version };

const resources = Object.entries(metricKinds).flatMap(([name, { isNamespaced }]) => {
  const resource = { singularName: '', namespaced: isNamespaced, kind: 'TrafficMetrics' };
  return [
    { name, ...resource, verbs: ['get', 'list'] },
    ...(name === 'trafficsplits' ? [] : [{ name: `${name}/edges`, ...resource, verbs: ['get'] }]),
  ];
});

const openapi = { info: { title: 'Weft', version: metricsVersion }, paths: {} };

/** By path. */
export const discoveryDocuments: Readonly<Record<string, object>> = {
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] },
  [`/apis/${metricsGroup}`]: { kind: 'APIGroup', apiVersion: 'v1', ...group },
  [`/apis/${metricsApiVersion}`]: {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: metricsApiVersion,
    resources,
  },
  '/openapi/v2': { swagger: '2.0', ...openapi, definitions: {} },
  '/openapi/v3': { paths: {} },
};
