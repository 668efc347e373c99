/** Specs of Istio's ServiceEntry, WorkloadEntry and WorkloadGroup. */
import type { Labels } from '../../src/model/labels.js';

/** An endpoint: the spec of a WorkloadEntry, and an entry of a ServiceEntry's `endpoints`. */
export interface WorkloadEntrySpec {
  readonly address?: string;
  /** Port names with the endpoint's own port numbers. */
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: Labels;
  readonly network?: string;
  /** `region/zone/subzone` */
  readonly locality?: string;
  readonly weight?: number;
  readonly serviceAccount?: string;
}

export interface EntryPort {
  readonly number: number;
  readonly name: string;
  readonly protocol?: string;
  readonly targetPort?: number;
}

export interface ServiceEntrySpec {
  readonly hosts: readonly string[];
  /** Addresses, and blocks of them. */
  readonly addresses?: readonly string[];
  readonly ports?: readonly EntryPort[];
  readonly location?: 'MESH_EXTERNAL' | 'MESH_INTERNAL';
  readonly resolution?: 'NONE' | 'STATIC' | 'DNS' | 'DNS_ROUND_ROBIN' | 'DYNAMIC_DNS';
  readonly endpoints?: readonly WorkloadEntrySpec[];
  readonly workloadSelector?: { readonly labels?: Labels };
  readonly exportTo?: readonly string[];
  readonly subjectAltNames?: readonly string[];
}

export interface WorkloadGroupSpec {
  readonly metadata?: { readonly labels?: Labels; readonly annotations?: Readonly<Record<string, string>> };
  readonly template: WorkloadEntrySpec;
  readonly probe?: Readonly<Record<string, unknown>>;
}
