/** Whether a command is about a cluster. In a file of its own, so that a command that only asks this starts fast. */

/** The flag if it is given, else whether KUBECONFIG names a cluster. */
export const wantsCluster = (flag: boolean | undefined): boolean =>
  flag ?? (process.env['KUBECONFIG'] ?? '') !== '';
