/** The trafficPolicy of a DestinationRule as the sections of a TrafficPolicy. */
import { parseSecretName } from '../../../src/model/client-certificate.js';
import type { Fields } from '../load.js';
import type { Remarks } from './http-actions.js';
import type { Reader } from './reader.js';
import { gatewayDuration } from './services.js';

const balancers: Readonly<Record<string, string>> = {
  ROUND_ROBIN: 'RoundRobin',
  LEAST_REQUEST: 'LeastRequest',
  LEAST_CONN: 'LeastRequest',
  UNSPECIFIED: 'LeastRequest',
  RANDOM: 'Random',
};

const present = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
const orNothing = (fields: Fields): Fields | undefined => {
  const kept = present(fields);
  return Object.keys(kept).length > 0 ? kept : undefined;
};

/** Reads durations; those without a form in Weft are remarks. */
const duration = (reader: Reader, key: string, remarks: Remarks): string | undefined => {
  const text = reader.text(key);
  const made = text === undefined ? undefined : gatewayDuration(text);
  if (text !== undefined && made === undefined)
    remarks.lost(reader.pathOf(key), `${text} is no duration in milliseconds`);
  return made;
};

function hashed(hash: Reader, remarks: Remarks): Fields {
  const [header, query] = [hash.text('httpHeaderName'), hash.text('httpQueryParameterName')];
  const address = hash.flag('useSourceIp') === true;
  const cookie = hash.child('httpCookie');
  const hashOn: Fields[] = [
    ...(header === undefined ? [] : [{ header }]),
    ...(query === undefined ? [] : [{ query }]),
    ...(address ? [{ clientAddress: {} }] : []),
    ...(hash.has('httpCookie')
      ? [
          {
            cookie: present({
              name: cookie.text('name'),
              ttl: duration(cookie, 'ttl', remarks),
              path: cookie.text('path'),
            }),
          },
        ]
      : []),
  ];
  const size = hash.child('ringHash').number('minimumRingSize') ?? hash.number('minimumRingSize');
  if (!hash.has('maglev'))
    return { type: 'RingHash', hashOn, ...(size === undefined ? {} : { ringHash: { sizeMin: size } }) };
  const tableSize = hash.child('maglev').number('tableSize');
  return { type: 'Maglev', hashOn, ...(tableSize === undefined ? {} : { maglev: { tableSize } }) };
}

function loadBalancing(policy: Reader, remarks: Remarks): Fields | undefined {
  const balancer = policy.child('loadBalancer');
  const simple = balancer.text('simple');
  if (simple !== undefined && balancers[simple] === undefined)
    remarks.lost(
      balancer.pathOf('simple'),
      `Weft has no ${simple}: connections to an address that is no Service go there anyway`,
    );
  const hash = balancer.child('consistentHash');
  const base: Fields = balancer.has('consistentHash')
    ? hashed(hash, remarks)
    : simple !== undefined && balancers[simple] !== undefined
      ? { type: balancers[simple] }
      : {};
  const warmup = balancer.child('warmup');
  const window = duration(warmup, 'duration', remarks) ?? duration(balancer, 'warmupDurationSecs', remarks);
  const [aggression, least] = [warmup.number('aggression'), warmup.number('minimumPercent')];
  const slowStart = present({
    window,
    aggression: aggression === undefined ? undefined : String(aggression),
    minWeightPercent: least,
  });
  const mayWarm = [undefined, 'RoundRobin', 'LeastRequest'].includes(base['type'] as string | undefined);
  if (window !== undefined && !mayWarm)
    remarks.lost(balancer.pathOf('warmup'), 'slowStart needs RoundRobin or LeastRequest');
  return orNothing({ ...base, ...(window !== undefined && mayWarm ? { slowStart } : {}) });
}

/** 0 stands for no limit in maxRequestsPerConnection. */
function circuitBreaker(tcp: Reader, http: Reader): Fields | undefined {
  const perConnection = http.number('maxRequestsPerConnection');
  return orNothing({
    connectionsMax: tcp.number('maxConnections'),
    pendingRequestsMax: http.number('http1MaxPendingRequests'),
    requestsMax: http.number('http2MaxRequests'),
    requestsPerConnectionMax: perConnection === 0 ? undefined : perConnection,
  });
}

function outlierDetection(policy: Reader, remarks: Remarks): Fields | undefined {
  const outliers = policy.child('outlierDetection');
  const split = outliers.flag('splitExternalLocalOriginErrors') === true;
  const local = outliers.number('consecutiveLocalOriginFailures');
  if (local !== undefined && !split)
    remarks.differs(
      outliers.pathOf('consecutiveLocalOriginFailures'),
      'it counts only with splitExternalLocalOriginErrors',
    );
  const least = outliers.number('minHealthPercent');
  if (least !== undefined && least > 0)
    remarks.lost(
      outliers.pathOf('minHealthPercent'),
      'locality.panicPercent of a TrafficPolicy also chooses unhealthy endpoints then',
    );
  const interval = duration(outliers, 'interval', remarks);
  const base = duration(outliers, 'baseEjectionTime', remarks);
  return orNothing({
    consecutive5xx: outliers.number('consecutive5xxErrors') ?? outliers.number('consecutiveErrors'),
    consecutiveGatewayErrors: outliers.number('consecutiveGatewayErrors'),
    consecutiveLocalFailures: split ? local : undefined,
    interval,
    baseEjectionTime: base,
    ejectedPercentMax: outliers.number('maxEjectionPercent'),
  });
}

/** What becomes of the tls of a trafficPolicy. */
export interface BackendTls {
  readonly hostname?: string;
  readonly subjectAltNames: readonly string[];
  /** A Secret with the certificate that is shown to endpoints. */
  readonly clientCertificate?: string;
}
function tlsOf(policy: Reader, remarks: Remarks): BackendTls | undefined {
  if (!policy.has('tls')) return undefined;
  const tls = policy.child('tls');
  const mode = tls.text('mode') ?? 'DISABLE';
  if (mode === 'ISTIO_MUTUAL' || mode === 'DISABLE') {
    if (mode === 'DISABLE')
      remarks.differs(tls.pathOf('mode'), 'Weft uses TLS between enrolled pods, and none to others');
    else if (tls.has('sni') || tls.has('subjectAltNames')) {
      tls.take('sni');
      for (const name of tls.texts('subjectAltNames'))
        remarks.lost(
          tls.pathOf('subjectAltNames'),
          `${name}: Weft expects the identity of the endpoint's service account, whatever is written here`,
        );
    }
    return undefined;
  }
  const [hostname, names] = [tls.text('sni'), tls.texts('subjectAltNames')];
  const clientCertificate = mode === 'MUTUAL' ? parseSecretName(tls.text('credentialName')) : undefined;
  if (
    (mode === 'MUTUAL' && clientCertificate === undefined) ||
    (mode !== 'MUTUAL' && tls.has('credentialName')) ||
    tls.has('clientCertificate') ||
    tls.has('privateKey') ||
    tls.has('caCertificates') ||
    tls.has('insecureSkipVerify')
  ) {
    remarks.lost(
      tls.path,
      'a BackendTLSPolicy has the certificates of the endpoints in a ConfigMap (caCertificateRefs), never skips them, and shows the certificate of a Secret (MUTUAL with credentialName), never of files',
    );
    tls.takeAll();
    return undefined;
  }
  if (clientCertificate !== undefined)
    remarks.differs(
      tls.pathOf('credentialName'),
      "a waypoint of this namespace shows the Secret's certificate; its ca.crt is not read: give the CA of the endpoints as caCertificateRefs if it is not a public one",
    );
  return {
    subjectAltNames: names,
    ...(hostname === undefined ? {} : { hostname }),
    ...(clientCertificate === undefined ? {} : { clientCertificate }),
  };
}

export interface Sections {
  /** Sections of a TrafficPolicy. */
  readonly sections: Fields;
  readonly tls?: BackendTls;
}

/** Reads a trafficPolicy: of a DestinationRule, a subset or a port. */
export function sectionsOf(policy: Reader, remarks: Remarks): Sections {
  const pool = policy.child('connectionPool');
  const [tcp, http] = [pool.child('tcp'), pool.child('http')];
  const timeouts = orNothing({
    connect: duration(tcp, 'connectTimeout', remarks),
    connectionIdle: duration(http, 'idleTimeout', remarks),
    tcpIdle: duration(tcp, 'idleTimeout', remarks),
  });
  const budget = policy.child('retryBudget');
  const retry = orNothing({
    budget: orNothing({
      percent: budget.number('percent'),
      minRetries: budget.number('minRetryConcurrency'),
    }),
  });
  const tls = tlsOf(policy, remarks);
  const sections = present({
    loadBalancing: loadBalancing(policy, remarks),
    circuitBreaker: circuitBreaker(tcp, http),
    outlierDetection: outlierDetection(policy, remarks),
    timeouts,
    retry,
  });
  return { sections, ...(tls ? { tls } : {}) };
}
