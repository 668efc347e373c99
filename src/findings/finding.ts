/** A finding of `weft check` about a cluster, this machine or a directory of manifests. */
export interface Finding {
  /** `fail`: a protection that users rely on is not in force, or traffic fails. `warn`: it may be intended. */
  readonly level: 'ok' | 'warn' | 'fail';
  readonly what: string;
  /** What to do about it. */
  readonly help?: string;
}
