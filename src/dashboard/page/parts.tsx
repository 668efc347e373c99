/** Small parts that several views have. Names are text nodes only. */
import type { ComponentChildren } from 'preact';
import type { EdgeState } from '../../model/mesh-snapshot.js';
import { nameWithPort } from '../../model/party-name.js';
import { edgeHealth, healthText, securityText } from '../view/edges.js';
import { agoText, dateText } from '../view/format.js';
import { routeHash, selecting, unfiltered, type Route } from '../view/route.js';
import { visibleText } from '../view/text.js';
import { notKnownText } from '../view/unknown.js';

/** A name of somebody's object: cut by its place, whole in its title. */
export function Name({ text }: { readonly text: string }) {
  const shown = visibleText(text);
  // The direction of a name must not change that of the text beside it.
  return (
    <bdi class="name" title={shown}>
      {shown}
    </bdi>
  );
}

export function Link({
  to,
  children,
  onClick,
}: {
  to: Route;
  children: ComponentChildren;
  onClick?: () => void;
}) {
  return (
    <a href={routeHash(to)} onClick={onClick}>
      {children}
    </a>
  );
}

type Tone = 'good' | 'warn' | 'bad' | 'neutral' | 'info';
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

const tones = {
  denied: 'bad',
  'partly-denied': 'bad',
  failing: 'bad',
  unsteady: 'warn',
  audited: 'warn',
  fine: 'good',
} as const;

export function EdgeBadge({ edge }: { readonly edge: EdgeState }) {
  const health = edgeHealth(edge);
  return <Badge tone={tones[health]}>{healthText[health]}</Badge>;
}

/** Edges as links to their details. */
export const EdgeList = ({ edges }: { readonly edges: readonly EdgeState[] }) => (
  <ul class="rows">
    {edges.map((edge) => (
      <li key={edge.id}>
        <EdgeBadge edge={edge} />
        <Link to={selecting({ view: 'graph', ...unfiltered }, { edge: edge.id })}>
          <Name text={edge.source} /> → <Name text={nameWithPort(edge.destination, edge.port)} />
        </Link>
      </li>
    ))}
  </ul>
);

/** A lock, closed if mutual TLS protects it. The text beside it says the same. */
export function Security({ security }: { readonly security: EdgeState['security'] }) {
  return (
    <span class={`security ${security}`}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
        {security === 'mutual-tls' ? (
          <path d="M2 5.5h8v6H2zM3.5 5.5V4a2.5 2.5 0 0 1 5 0v1.5" />
        ) : security === 'same-node' ? (
          <path d="M1.5 1.5h9v9h-9zM4 6h4M6 4v4" />
        ) : security === 'none' ? (
          <path d="M2 5.5h8v6H2zM3.5 5.5V3.2a2.3 2.3 0 0 1 4.4-.9" />
        ) : (
          <path d="M6 8V7c0-1 2-1.4 2-3a2 2 0 0 0-4 0M6 10.2v.6" />
        )}
      </svg>
      {securityText[security]}
    </span>
  );
}

export function PathText({ path }: { readonly path: string }) {
  return (
    <span class={`path path-${['kernel', 'plain', 'refused'].includes(path) ? path : 'other'}`}>
      {path === 'kernel' ? (
        <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
          <path d="M7 1 2.5 7H6l-1 4 4.5-6H6z" />
        </svg>
      ) : undefined}
      <Name text={path} />
    </span>
  );
}

export function Ago({ timeMs, nowMs }: { readonly timeMs: number; readonly nowMs: number }) {
  return (
    <time dateTime={Number.isFinite(timeMs) ? new Date(timeMs).toISOString() : ''} title={dateText(timeMs)}>
      {agoText(timeMs, nowMs)}
    </time>
  );
}

/** What is shown in place of an empty list. */
export function Empty({ children }: { readonly children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** `Empty` for a list that may not have been read: it then says that nothing is known. */
export function NoRows({
  isUnknown,
  children,
}: {
  readonly isUnknown: boolean;
  readonly children: ComponentChildren;
}) {
  return <Empty>{isUnknown ? notKnownText : children}</Empty>;
}

export function Panel({
  title,
  id,
  children,
  aside,
}: {
  title: string;
  id: string;
  children: ComponentChildren;
  aside?: ComponentChildren;
}) {
  return (
    <section class="panel" aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}
