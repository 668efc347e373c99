/**
 * Decides which namespaces a Gateway's listeners admit (`allowedRoutes.namespaces` of the Gateway API). A waypoint serves Services of the
 * namespaces that its HBONE listeners admit, as Istio interprets the field. Pure.
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

/** The API server sets this label on every Namespace to the Namespace's name. */
const nameLabel = 'kubernetes.io/metadata.name';

/** Whether labels match a selector. An absent selector and an unknown operator match nothing; an empty selector matches everything. */
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
 * Whether a waypoint's Gateway admits Services of a namespace. Without an HBONE listener, or if the listener has no `from`, the Gateway
 * admits only its own namespace (`Same`, the Gateway API's default). An unknown value of `from` admits no namespace.
 * @param gatewayNamespace the namespace of the Gateway
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
        // A Namespace from a file may lack the label or claim another name with it.
        return selectorMatches(selector, { ...labels, [nameLabel]: namespace });
      default:
        return false;
    }
  });
}
