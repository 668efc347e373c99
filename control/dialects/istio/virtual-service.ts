/** VirtualServices: routes whose rules match in the order written. */
import { recompileVirtualServices } from './virtual-service-dependents.js';
import { compileVirtualService } from './virtual-service-compile.js';
import { istioKind } from './istio-kind.js';
import { virtualServiceStatus } from './virtual-service-status.js';

export { virtualServiceFields } from './virtual-service-fields.js';

export const virtualServiceKind = istioKind(
  'VirtualService',
  { group: 'networking.istio.io', versions: ['v1', 'v1beta1', 'v1alpha3'], plural: 'virtualservices' },
  {
    dependents: recompileVirtualServices,
    compile: (object, { registry }) => compileVirtualService(object, registry),
    status: virtualServiceStatus,
  },
);
