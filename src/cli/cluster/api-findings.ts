/** Findings about the API by which edges and changes are read. Pure. */
import type { Finding } from '../../findings/finding.js';
import { observeApi } from '../../model/observe-api.js';

export const apiServicePath = `/apis/apiregistration.k8s.io/v1/apiservices/${observeApi.version}.${observeApi.group}`;

export interface ApiServiceItem {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
  };
}

/** @param item undefined: the chart does not serve it, or this account may not read it */
export function apiFindings(item: ApiServiceItem | undefined): Finding[] {
  if (!item) return [];
  const available = item.status?.conditions?.find(({ type }) => type === 'Available');
  if (available?.status === 'True')
    return [
      {
        level: 'ok',
        what: `the API server reaches ${observeApi.group}, which weft edges and weft changes read`,
      },
    ];
  return [
    {
      level: 'warn',
      what: `the API server does not reach ${observeApi.group}: ${available?.message ?? 'it has not tried yet'}`,
      help: 'weft edges, weft changes and weft policy cannot read it, and Kubernetes does not finish the deletion of namespaces: let the API server reach port 10250 of the pods of weft-control, or set observe.api=false in the chart',
    },
  ];
}
