/** The part of the client library that forwards ports, in a file of its own, so that a bundle has only this part. */
export { PortForward } from '@kubernetes/client-node';
