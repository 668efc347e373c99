/** Name of the socket in the control plane's state directory by which an operator reads edges. */
export const controlSocketName = 'admin.sock';
