/** What `weft check` says, of a cluster, of this machine or of a directory of manifests. */
export interface Finding {
  /** `fail`: something does not hold that somebody relies on, or nothing works; `warn`: it may be meant so. */
  readonly level: 'ok' | 'warn' | 'fail';
  readonly what: string;
  /** What to do. */
  readonly help?: string;
}
