/** `weft control token` and `weft control revoke-token`. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { decodeJwt } from 'jose';
import { UsageError } from '../../src/base/usage.js';
import { rateLimiterCaller } from '../compile/rate-limiter.js';
import { waypointCaller, waypointOfCaller } from '../compile/waypoints.js';
import { revoke } from '../authentication/revocations.js';
import { makeToken, tokenTtlSDefault } from '../authentication/join-tokens.js';
import { seconds } from './seconds.js';

interface Subject {
  readonly node?: string;
  readonly waypoint?: string;
  readonly rateLimiter?: boolean;
}

/** The subject of a token of a node, a waypoint or the rate limit service. Error: WEFT_TOKEN_SUBJECT. */
function tokenSubject({ node, waypoint, rateLimiter }: Subject): string {
  if (rateLimiter === true && node === undefined && waypoint === undefined) return rateLimiterCaller;
  // A node name with a colon could be read as a waypoint's subject.
  if (
    rateLimiter !== true &&
    node !== undefined &&
    waypoint === undefined &&
    node !== '' &&
    !node.includes(':')
  )
    return node;
  const name =
    node === undefined && rateLimiter !== true ? waypointOfCaller(`waypoint:${waypoint ?? ''}`) : undefined;
  if (name) return waypointCaller(name);
  throw new UsageError(
    'WEFT_TOKEN_SUBJECT',
    'give one of --node, a name without colons, --waypoint NAMESPACE/NAME, or --rate-limiter',
  );
}

function revocationOf({
  id,
  token,
  ...subject
}: Subject & { id?: string; token?: string }): Parameters<typeof revoke>[1] {
  if (id !== undefined) return { id };
  if (token === undefined)
    // Tokens are dated in whole seconds: a token issued later in this second is revoked, too.
    return { subject: tokenSubject(subject), beforeS: Math.floor(Date.now() / 1000) };
  const { jti } = decodeJwt(readFileSync(token, 'utf8').trim());
  if (jti !== undefined) return { id: jti };
  throw new UsageError(
    'WEFT_TOKEN_SUBJECT',
    'the token has no id: revoke all tokens of its node with --node',
  );
}

export function tokenCommands(program: Command): void {
  program
    .command('token')
    .description(
      'print a join token for a node, a waypoint or the rate limit service; the id of the token goes to standard error',
    )
    .requiredOption('--state <dir>', "the control plane's state directory")
    .option('--node <name>', 'node of the token, which may request certificates for its pods')
    .option('--waypoint <namespace/name>', 'Gateway of the waypoint')
    .option('--rate-limiter', 'the token is for the rate limit service')
    .option('--namespaces <names...>', 'restrict the token to identities of these namespaces')
    .option('--ttl-s <seconds>', 'lifetime', seconds, tokenTtlSDefault)
    .action(async (options: Subject & { state: string; namespaces?: string[]; ttlS: number }) => {
      const { state, namespaces, ttlS } = options;
      const request = { subject: tokenSubject(options), ttlS, ...(namespaces ? { namespaces } : {}) };
      const { token, id } = await makeToken(state, request);
      process.stdout.write(`${token}\n`);
      process.stderr.write(`id ${id}, until ${new Date(Date.now() + ttlS * 1000).toISOString()}\n`);
    });
  program
    .command('revoke-token')
    .description('revoke a join token, or all tokens of a node or waypoint that were created before now')
    .requiredOption('--state <dir>', "the control plane's state directory")
    .option('--id <id>', 'id of the token, as `weft token` printed it')
    .option('--token <file>', 'file with the token')
    .option('--node <name>', 'all tokens of this node')
    .option('--waypoint <namespace/name>', 'all tokens of this waypoint')
    .option('--rate-limiter', 'all tokens of the rate limit service')
    .action((options: Subject & { state: string; id?: string; token?: string }) => {
      const revocation = revocationOf(options);
      revoke(options.state, revocation);
      process.stdout.write(`revoked ${JSON.stringify(revocation)}\n`);
    });
}
