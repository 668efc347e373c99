const serviceHost = /^([^.]+)\.([^.]+)\.svc(?:\.|$)/;

/** The Service that a host name of an edge is of, `NAME.NAMESPACE.svc` with any domain; undefined: it is outside of the cluster. Pure. */
export function serviceInHost(
  host: string,
): { readonly namespace: string; readonly name: string } | undefined {
  const [, name, namespace] = serviceHost.exec(host) ?? [];
  return name === undefined || namespace === undefined ? undefined : { namespace, name };
}
