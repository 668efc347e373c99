/** A real Prometheus for tests, in a network namespace of a testbed. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { until } from '../../src/base/wait.js';
import { run } from '../../src/cli/run.js';
import type { Testbed } from '../../src/cli/standalone/testbed.js';

export interface ScrapeJob {
  readonly job: string;
  readonly targets: readonly string[];
  /** Further labels of the targets. */
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PrometheusOptions {
  readonly netns: string;
  readonly jobs: readonly ScrapeJob[];
  /** Bearer token that it presents to all targets. */
  readonly token: string;
  /** Text of a rules file. */
  readonly rules?: string;
}

/** A series of a response, and its value at the time of the query. */
export interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: number;
}

const address = '127.0.0.1:9090';

export class Prometheus {
  private constructor(private readonly netns: string) {}

  /** Resolves when it is ready. The testbed's teardown ends it. */
  static async start(testbed: Testbed, options: PrometheusOptions): Promise<Prometheus> {
    const dir = join(testbed.state, 'prometheus');
    mkdirSync(dir, { recursive: true });
    const file = (name: string, text: string): string => {
      writeFileSync(join(dir, name), text);
      return join(dir, name);
    };
    const config = {
      global: { scrape_interval: '1s', scrape_timeout: '1s', evaluation_interval: '1s' },
      rule_files: options.rules === undefined ? [] : [file('rules.yaml', options.rules)],
      scrape_configs: options.jobs.map(({ job, targets, labels = {} }) => ({
        job_name: job,
        authorization: { credentials: options.token },
        static_configs: [{ targets, labels }],
      })),
    };
    testbed.start('prometheus', options.netns, 'prometheus', [
      `--config.file=${file('prometheus.yaml', stringify(config))}`,
      `--storage.tsdb.path=${join(dir, 'data')}`,
      `--web.listen-address=${address}`,
      '--enable-feature=exemplar-storage',
    ]);
    const prometheus = new Prometheus(options.netns);
    await until('Prometheus is ready', 60_000, async () => {
      testbed.died('prometheus');
      return (await prometheus.#get('/-/ready')).includes('Ready');
    });
    return prometheus;
  }

  async #get(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<string> {
    const data = Object.entries(parameters).flatMap(([name, value]) => [
      '--data-urlencode',
      `${name}=${value}`,
    ]);
    const args = ['-sS', '-m', '20', '--noproxy', '*', '-G', ...data, `http://${address}${path}`];
    return (await run(this.netns, 'curl', args, 30_000)).stdout;
  }

  /** The data of a response of its API. Fails, with what Prometheus says, if it refuses. */
  async api<T>(path: string, parameters: Readonly<Record<string, string>>): Promise<T> {
    const response = JSON.parse(await this.#get(`/api/v1/${path}`, parameters)) as {
      readonly status: string;
      readonly error?: string;
      readonly data: T;
    };
    assert.equal(response.status, 'success', `${JSON.stringify(parameters)}: ${response.error}`);
    return response.data;
  }

  /** Runs a query now. A scalar is one sample without labels. */
  async query(query: string): Promise<Sample[]> {
    type Value = readonly [number, string];
    const data = await this.api<{
      readonly resultType: string;
      readonly result: Value | readonly { readonly metric: Record<string, string>; readonly value: Value }[];
    }>('query', { query });
    if (data.resultType === 'scalar') return [{ metric: {}, value: Number((data.result as Value)[1]) }];
    return (data.result as readonly { metric: Record<string, string>; value: Value }[]).map((one) => ({
      metric: one.metric,
      value: Number(one.value[1]),
    }));
  }

  /** Waits until a query returns a series. Resolves with its series. */
  returns(query: string, timeoutMs = 60_000): Promise<Sample[]> {
    return until(
      `Prometheus returns series of ${query}`,
      timeoutMs,
      async () => {
        const found = await this.query(query);
        return found.length > 0 && found;
      },
      250,
    );
  }
}
