/** Writes the dashboards' JSON into the chart: node dist/daemonset/monitoring/write.js daemonset/chart/files/dashboards */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dashboards } from './dashboards.js';
import { grafanaText } from './grafana.js';

const [, , directory = '.'] = process.argv;
for (const dashboard of dashboards)
  writeFileSync(join(directory, `${dashboard.name}.json`), grafanaText(dashboard));
