// Made by shapes.mjs from the .proto files. DO NOT EDIT.
import type { Shape } from '../codec/unknown-fields.js';

export const authorizationShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: () => ruleShape, 6: true, 1000: true };

export const ruleShape: Shape = { 1: () => clauseShape };

export const clauseShape: Shape = { 2: () => matchShape };

export const matchShape: Shape = { 1: () => stringMatchShape, 2: () => stringMatchShape, 3: () => stringMatchShape, 4: () => stringMatchShape, 5: () => addressShape, 6: () => addressShape, 7: () => addressShape, 8: () => addressShape, 9: true, 10: true, 11: () => serviceAccountMatchShape, 12: () => serviceAccountMatchShape, 1000: () => weftMatchShape };

export const weftMatchShape: Shape = { 1: () => matchShape, 2: () => httpMatchShape };

export const httpMatchShape: Shape = { 1: true, 2: true, 3: () => pathMatchShape, 4: () => pathMatchShape, 5: () => stringMatchShape, 6: () => stringMatchShape, 7: () => headerMatchShape };

export const pathMatchShape: Shape = { 1: true, 2: true, 3: true, 4: () => pathTemplateShape };

export const pathTemplateShape: Shape = { 1: true };

export const headerMatchShape: Shape = { 1: true, 2: () => stringMatchShape, 3: true };

export const addressShape: Shape = { 1: true, 2: true };

export const stringMatchShape: Shape = { 1: true, 2: true, 3: true, 4: true };

export const serviceAccountMatchShape: Shape = { 1: true, 2: true };

export const sessionAffinityShape: Shape = { 1: true };

export const scopeShape: Shape = { 1: true, 2: true };

export const nodePodShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true, 8: true, 9: true, 10: true, 11: true, 12: true, 13: true, 14: true, 15: true, 16: true, 17: true, 18: true };

export const uncapturedPodShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: true };

export const enrolledNamespaceShape: Shape = { 1: true };

export const nodeReportShape: Shape = { 1: true, 2: () => podStateShape, 3: true, 4: true };

export const podStateShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: true };

export const nodeReportResponseShape: Shape = {  };

export const routeShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: () => routeParentShape, 6: () => routeRuleShape };

export const routeParentShape: Shape = { 1: true, 2: true };

export const routeRuleShape: Shape = { 1: true, 2: () => routeMatchShape, 3: () => routeFilterShape, 4: () => routeBackendShape, 5: true, 6: true, 7: () => routeRetryShape, 8: () => sessionPersistenceShape, 2000: () => idleTimeoutsShape };

export const idleTimeoutsShape: Shape = { 1: true, 2: true };

export const routeMatchShape: Shape = { 1: true, 2: true, 3: true, 4: () => valueMatchShape, 5: () => valueMatchShape };

export const valueMatchShape: Shape = { 1: true, 2: true, 3: true };

export const headerPairShape: Shape = { 1: true, 2: true };

export const pathChangeShape: Shape = { 1: true, 2: true };

export const backendTargetShape: Shape = { 1: true, 2: true, 3: true };

export const routeFilterShape: Shape = { 1: () => headerFilterShape, 2: () => headerFilterShape, 3: () => redirectFilterShape, 4: () => rewriteFilterShape, 5: () => mirrorFilterShape, 6: () => corsFilterShape };

export const headerFilterShape: Shape = { 1: () => headerPairShape, 2: () => headerPairShape, 3: true };

export const redirectFilterShape: Shape = { 1: true, 2: true, 3: true, 4: () => pathChangeShape, 5: true };

export const rewriteFilterShape: Shape = { 1: true, 2: () => pathChangeShape };

export const mirrorFilterShape: Shape = { 1: () => backendTargetShape, 2: true, 3: true };

export const corsFilterShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: true, 6: true };

export const routeBackendShape: Shape = { 1: () => backendTargetShape, 2: true, 3: () => routeFilterShape };

export const routeRetryShape: Shape = { 1: true, 2: true, 3: true };

export const sessionPersistenceShape: Shape = { 1: true, 2: true, 3: true, 4: true, 5: true };

export const trustShape: Shape = { 1: true };
