/** Words of options that several programs have: users see them side by side. */

export const rootNamespaceText = 'namespace of the control plane, whose policies apply to the whole mesh';
