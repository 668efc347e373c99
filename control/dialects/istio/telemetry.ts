import { namespaceOf } from '../../../src/model/labels.js';
import { gatewayGroup, type GatewayObject } from '../../objects/objects.js';
import type { IstioObject } from '../../objects/istio.js';
import type { Registry } from '../../registry/registry.js';
import { differs, nothing, usedFields, works, type FieldTable } from '../fields.js';
import { fieldRemarks } from '../remarks.js';
import { istioKind } from './istio-kind.js';
import { byAge } from '../../objects/age.js';

type Telemetry = IstioObject<'Telemetry'>;

const metricsAreFixed = 'the metrics and labels of agents and waypoints are fixed';
const relabel = 'metric_relabel_configs of your Prometheus (metrics.md)';
const clientSide = 'only waypoints log requests, on the way to the server';

export const telemetryFields: FieldTable = {
  'selector.matchLabels': nothing(
    'a waypoint logs for all of its Services; an object with a selector concerns no waypoint',
    'targetRefs with a Gateway',
  ),
  targetRef: differs('a Gateway of class weft-waypoint, on Kubernetes; other targets have no effect'),
  targetRefs: differs('Gateways of class weft-waypoint, on Kubernetes; other targets have no effect'),
  'accessLogging[].disabled': works,
  'accessLogging[].match.mode': works,
  'accessLogging[].match.mode=CLIENT': nothing(clientSide),
  'accessLogging[].filter.expression': differs(
    '`response.code >= 400` and `>= 500` log failed requests (`--access-log-mode errors`). With any other expression all requests are logged',
  ),
  'accessLogging[].providers': nothing(
    'a waypoint writes its log to its standard output',
    'the flags `--access-log` and `--access-log-template` (configuration.md)',
  ),
  metrics: nothing(metricsAreFixed, relabel),
  'tracing[].randomSamplingPercentage': works,
  'tracing[].disableSpanReporting': differs('no span is begun; one whose caller has sampled it is reported'),
  'tracing[].match.mode': works,
  'tracing[].match.mode=CLIENT': nothing(clientSide),
  'tracing[].providers': nothing(
    'spans go to one collector by OTLP',
    'the flag `--otlp-endpoint` of the waypoint (configuration.md)',
  ),
  'tracing[].customTags': nothing('the attributes of spans are fixed'),
  'tracing[].enableIstioTags': nothing('spans have no attributes of Istio'),
  'tracing[].disableContextPropagation': nothing('a waypoint always passes the context on'),
  'tracing[].useRequestIdForTraceSampling': nothing('the trace context decides about sampling'),
};

export const telemetryKind = istioKind(
  'Telemetry',
  { group: 'telemetry.istio.io', versions: ['v1', 'v1alpha1'], plural: 'telemetries' },
  {
    compile({ spec, invalid }) {
      const remarks = invalid === undefined ? fieldRemarks(usedFields(spec, telemetryFields)) : [];
      return { resources: [], remarks };
    },
  },
);

/** The Telemetries that concern a waypoint: the most specific first, and of several alike the oldest. */
function telemetriesOf(registry: Registry, gateway: GatewayObject): readonly Telemetry[] {
  const namespace = namespaceOf(gateway);
  const readable = (of: string): Telemetry[] =>
    registry.indexes.Telemetry.in(of)
      .filter(({ invalid }) => invalid === undefined)
      .sort(byAge);
  const targets = ({ spec }: Telemetry) => spec.targetRefs ?? (spec.targetRef ? [spec.targetRef] : []);
  const isTargeting = (one: Telemetry): boolean =>
    targets(one).some(
      ({ group, kind, name }) =>
        kind === 'Gateway' && group === gatewayGroup && name === gateway.metadata.name,
    );
  const isWide = (one: Telemetry): boolean => targets(one).length === 0 && !one.spec.selector;
  const own = readable(namespace);
  const { rootNamespace } = registry;
  return [
    ...own.filter(isTargeting),
    ...own.filter(isWide),
    ...(namespace === rootNamespace ? [] : readable(rootNamespace).filter(isWide)),
  ];
}

const isOfServer = ({ match }: { readonly match?: { readonly mode?: string } }): boolean =>
  match?.mode !== 'CLIENT';
const logsFailures = /^\s*response\.code\s*>=\s*[45]00\s*$/;

/** Flags of a waypoint that Telemetry objects ask for. Each section comes from the most specific object that has it. */
export function telemetryFlags(registry: Registry, gateway: GatewayObject): readonly string[] {
  const found = telemetriesOf(registry, gateway);
  const logging = found.find(({ spec }) => spec.accessLogging)?.spec.accessLogging?.findLast(isOfServer);
  const tracing = found.find(({ spec }) => spec.tracing)?.spec.tracing?.findLast(isOfServer);
  const isFiltered = logsFailures.test(logging?.filter?.expression ?? '');
  const mode = logging?.disabled ? 'none' : isFiltered ? 'errors' : 'all';
  const percentage = tracing?.disableSpanReporting ? 0 : tracing?.randomSamplingPercentage;
  return [
    ...(logging ? [`--access-log-mode=${mode}`] : []),
    ...(typeof percentage === 'number' ? [`--trace-sampling=${percentage / 100}`] : []),
  ];
}
