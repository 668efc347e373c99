/** What the URL says that is shown: a namespace, and a text. */
import { routeHash, type Route } from '../view/route.js';
import { visibleText } from '../view/text.js';

/** Replaces the entry of the browser's history, so that each letter is not one. */
function showRoute(route: Route): void {
  history.replaceState(null, '', routeHash(route));
  dispatchEvent(new HashChangeEvent('hashchange'));
}

export function FilterBar({
  route,
  namespaces,
}: {
  readonly route: Route;
  readonly namespaces: readonly string[];
}) {
  return (
    <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
      <label>
        Namespace
        <select
          name="namespace"
          value={route.namespace}
          onChange={(event) => showRoute({ ...route, namespace: event.currentTarget.value })}
        >
          <option value="">all</option>
          {namespaces.includes(route.namespace) || route.namespace === '' ? undefined : (
            <option value={route.namespace}>{visibleText(route.namespace)}</option>
          )}
          {namespaces.map((namespace) => (
            <option key={namespace} value={namespace}>
              {visibleText(namespace)}
            </option>
          ))}
        </select>
      </label>
      <label>
        Filter
        <input
          type="search"
          name="text"
          value={route.text}
          placeholder="name, service, policy"
          autocomplete="off"
          onInput={(event) => showRoute({ ...route, text: event.currentTarget.value })}
        />
      </label>
    </form>
  );
}
