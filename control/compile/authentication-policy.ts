/** Compiles an AuthenticationPolicy to settings of the ports that it targets. Pure. */
import { namespaceOf } from '../../src/model/labels.js';
import type { AuthenticationPolicyObject } from '../objects/objects.js';
import { jwtTemplate } from './jwt-filter.js';
import { checkTargetRefs, type CompiledTrafficPolicy } from './traffic-policy.js';

/** Objects are replaced and never changed, so one object is compiled once: keys are fetched often. */
const known = new WeakMap<AuthenticationPolicyObject, CompiledTrafficPolicy>();

/** Compiles a policy. Error: the field that cannot be read. The closed form of a policy has no error. */
export function compileAuthenticationPolicy(policy: AuthenticationPolicyObject): CompiledTrafficPolicy {
  let compiled = known.get(policy);
  if (!compiled) known.set(policy, (compiled = compileAll(policy)));
  return compiled;
}

function compileAll(policy: AuthenticationPolicyObject): CompiledTrafficPolicy {
  const { metadata, spec, invalid } = policy;
  const origin = `AuthenticationPolicy ${namespaceOf(policy)}/${metadata.name}`;
  if (invalid !== undefined || !spec.jwt) {
    const isDryRun = spec.jwt?.dryRun === true;
    return {
      origin,
      sections: [],
      from: [],
      unread: ['authentication'],
      ...(isDryRun ? {} : { closed: `${origin} cannot be read: ${invalid ?? ''}`, authentication: 'closed' }),
    };
  }
  checkTargetRefs(spec.targetRefs);
  const template = jwtTemplate(spec.jwt, origin, 'jwt');
  return {
    origin,
    sections: [
      { name: 'authentication', isDryRun: template.dryRun, settings: { authentication: [template] } },
    ],
    from: [],
    unread: [],
    ...(template.dryRun ? {} : { authentication: template }),
  };
}
