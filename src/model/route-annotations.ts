/** Annotations of HTTPRoutes and GRPCRoutes that turn on filters, for what the Gateway API has no field. */

export const routeFilterKeys: readonly string[] = [];
