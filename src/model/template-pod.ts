/** Names of the pods that stand for the templates of manifests (control/pod-templates.ts). No object of a cluster has such a name. */
export const templatePodName = (name: string, kind: string): string => `${name} (of a ${kind})`;

const mark = / \(of a [A-Za-z]+\)$/;
export const isTemplatePodName = (name: string): boolean => mark.test(name);

/** The name of the object with the template; any other name as it is. */
export const templateName = (name: string): string => name.replace(mark, '');
