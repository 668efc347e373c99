/** One batch of measurements: a Job of the template that the chart installed, its log, and its end. */
import type { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { WeftError } from '../../src/base/errors.js';
import { sleep } from '../../src/base/wait.js';
import { requestJson } from '../../src/kubernetes/request.js';
import { itemsAt, problemOf, type PodItem } from './objects.js';
import type { ClientPlan, ClientReport } from './plan.js';
import { readReport } from './report.js';

const lookMs = 300;
const deadlineSlackMs = 15_000;

interface JobTemplate {
  readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly template: {
      readonly spec: { readonly containers: readonly { readonly env?: readonly object[] }[] };
    };
  };
}
interface CronJobItem {
  readonly metadata: { readonly name: string; readonly uid: string };
  readonly spec: { readonly jobTemplate: JobTemplate };
}
interface JobItem {
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly message?: string;
    }[];
  };
}

/** The Job of a plan. It is deleted with the CronJob that is its template. Pure. */
export function jobOf(from: CronJobItem, name: string, plan: ClientPlan, deadlineS: number): object {
  const { metadata, spec } = from.spec.jobTemplate;
  const [client, ...others] = spec.template.spec.containers;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name,
      labels: metadata?.labels ?? {},
      ownerReferences: [
        { apiVersion: 'batch/v1', kind: 'CronJob', name: from.metadata.name, uid: from.metadata.uid },
      ],
    },
    spec: {
      ...spec,
      activeDeadlineSeconds: deadlineS,
      template: {
        ...spec.template,
        spec: {
          ...spec.template.spec,
          containers: [{ ...client, env: [{ name: 'BENCH_PLAN', value: JSON.stringify(plan) }] }, ...others],
        },
      },
    },
  };
}

export class Jobs {
  readonly #config: KubeConfig;
  readonly #core: CoreV1Api;
  readonly #interrupted: () => boolean;
  readonly #templates = new Map<string, CronJobItem>();

  private constructor(config: KubeConfig, core: CoreV1Api, interrupted: () => boolean) {
    this.#config = config;
    this.#core = core;
    this.#interrupted = interrupted;
  }

  static async create(config: KubeConfig, interrupted: () => boolean): Promise<Jobs> {
    const { CoreV1Api } = await import('@kubernetes/client-node');
    return new Jobs(config, config.makeApiClient(CoreV1Api), interrupted);
  }

  /**
   * Runs a Job to its end and deletes it. Throws WEFT_BENCH_JOB if it failed, WEFT_INTERRUPTED, ApiError.
   */
  async run(namespace: string, name: string, plan: ClientPlan, deadlineS: number): Promise<ClientReport> {
    const jobs = `/apis/batch/v1/namespaces/${namespace}/jobs`;
    const template = await this.#template(namespace);
    await requestJson(this.#config, 'POST', jobs, jobOf(template, name, plan, deadlineS));
    try {
      const end = Date.now() + deadlineS * 1000 + deadlineSlackMs;
      for (;;) {
        if (this.#interrupted()) throw new WeftError('WEFT_INTERRUPTED', 'interrupted');
        const { status } = (await requestJson(this.#config, 'GET', `${jobs}/${name}`)) as JobItem;
        const over = (type: string): { readonly message?: string } | undefined =>
          status?.conditions?.find((one) => one.type === type && one.status === 'True');
        if (over('Complete')) return readReport(await this.#log(namespace, name));
        const failed = over('Failed');
        if (failed || Date.now() > end) {
          const pods = await this.#pods(namespace, name);
          const said = pods.map(problemOf).find((text) => text !== '');
          throw new WeftError(
            'WEFT_BENCH_JOB',
            `the client's Job failed: ${said ?? failed?.message ?? `it did not end in ${deadlineS} s`}`,
          );
        }
        await sleep(lookMs);
      }
    } finally {
      await requestJson(this.#config, 'DELETE', `${jobs}/${name}`, {
        propagationPolicy: 'Foreground',
        gracePeriodSeconds: 0,
      });
    }
  }

  async #template(namespace: string): Promise<CronJobItem> {
    const known = this.#templates.get(namespace);
    if (known) return known;
    const path = `/apis/batch/v1/namespaces/${namespace}/cronjobs/client`;
    const found = (await requestJson(this.#config, 'GET', path)) as CronJobItem;
    this.#templates.set(namespace, found);
    return found;
  }

  #pods(namespace: string, job: string): Promise<readonly PodItem[]> {
    const selector = encodeURIComponent(`job-name=${job}`);
    return itemsAt(this.#config, `/api/v1/namespaces/${namespace}/pods?labelSelector=${selector}`);
  }

  async #log(namespace: string, job: string): Promise<string> {
    const [pod] = await this.#pods(namespace, job);
    if (!pod) throw new WeftError('WEFT_BENCH_JOB', `the pod of Job ${namespace}/${job} is gone`);
    return this.#core.readNamespacedPodLog({
      namespace,
      name: pod.metadata.name,
      container: 'client',
      tailLines: 5,
    });
  }
}
