/**
 * Which namespaces a Gateway's listeners admit (`allowedRoutes.namespaces` of the Gateway API). A waypoint serves Services of the namespaces
 * that its HBONE listeners admit, as Istio reads the field. Pure.
 */
type Labels = Readonly<Record<string, string>>;

/** metav1.LabelSelector. */
interface LabelSelector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly {
    readonly key: string;
    readonly operator: string;
    readonly values?: readonly string[];
  }[];
}
export interface AllowedRoutes {
  readonly namespaces?: { readonly from?: string; readonly selector?: LabelSelector };
}
interface Listener {
  readonly protocol: string;
  readonly allowedRoutes?: AllowedRoutes;
}

/** The API server sets it on every Namespace to the Namespace's name. */
const nameLabel = 'kubernetes.io/metadata.name';

/** An operator that is not known matches nothing, and so does a selector that is absent; an empty one matches all. */
export function selectorMatches(selector: LabelSelector | undefined, labels: Labels): boolean {
  if (!selector) return false;
  const { matchLabels = {}, matchExpressions = [] } = selector;
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
      switch (operator) {
        case 'In':
          return value !== undefined && values.includes(value);
        case 'NotIn':
          return value === undefined || !values.includes(value);
        case 'Exists':
          return value !== undefined;
        case 'DoesNotExist':
          return value === undefined;
        default:
          return false;
      }
    })
  );
}

/**
 * Whether a waypoint's Gateway admits Services of a namespace. Without an HBONE listener, and where a listener says nothing, the Gateway
 * admits its own namespace alone (`Same`, the Gateway API's default). A value of `from` that is not known admits nobody.
 * @param gatewayNamespace where the Gateway is
 * @param labels the labels of the Namespace object `namespace`
 */
export function admitsNamespace(
  gatewayNamespace: string,
  listeners: readonly Listener[] | undefined,
  namespace: string,
  labels: Labels,
): boolean {
  const tunnels = (listeners ?? []).filter(({ protocol }) => protocol === 'HBONE');
  if (tunnels.length === 0) return namespace === gatewayNamespace;
  return tunnels.some(({ allowedRoutes }) => {
    const { from = 'Same', selector } = allowedRoutes?.namespaces ?? {};
    switch (from) {
      case 'All':
        return true;
      case 'Same':
        return namespace === gatewayNamespace;
      case 'Selector':
        // A file's Namespace may lack the label, or have another's name in it.
        return selectorMatches(selector, { ...labels, [nameLabel]: namespace });
      default:
        return false;
    }
  });
}
