/** The part of the client library that most programs use, in a file of its own, so that a bundle has only this part. */
export { KubeConfig } from '@kubernetes/client-node';
