/** The service weft.v1.ChangeReports: other replicas of the control plane read what changed. */
import { status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { errorText } from '../../src/base/errors.js';
import { encodeChange } from '../../src/discovery/codec/change.js';
import type { ChangeQuery, ChangeReportsServer, ChangeResponse } from '../../src/discovery/gen/weft.js';
import type * as model from '../../src/model/change.js';
import type { Caller } from '../authentication/authenticator.js';
import { controlCaller } from '../authentication/service-callers.js';
import type { ControlLog } from '../log.js';

export interface ChangeReportsOptions {
  /** What this replica knows. Absent: as of a version that keeps no changes. */
  readonly ownChanges?: (query: model.ChangeQuery) => model.ChangesAnswer;
  /** The authenticated caller. Error: WEFT_INTERNAL, if the call was not authenticated. */
  readonly callerOf: (call: ServerUnaryCall<unknown, unknown>) => Caller;
  readonly log: ControlLog;
}

/** The methods of the service. */
export const changeReports = ({ ownChanges, callerOf, log }: ChangeReportsOptions): ChangeReportsServer => ({
  query: (call: ServerUnaryCall<ChangeQuery, ChangeResponse>, respond: sendUnaryData<ChangeResponse>) => {
    try {
      if (!ownChanges)
        return respond({ code: status.UNIMPLEMENTED, details: 'this control plane keeps no changes' });
      // Changes name objects of all namespaces: no node and no waypoint may read them.
      if (callerOf(call).name !== controlCaller)
        return respond({
          code: status.PERMISSION_DENIED,
          details: 'only the control plane may read changes here',
        });
      const { namespace, sinceMs } = call.request;
      const answer = ownChanges({ sinceMs, ...(namespace === '' ? {} : { namespace }) });
      respond(null, { changes: answer.changes.map(encodeChange), sinceMs: answer.sinceMs });
    } catch (error) {
      log.warn({ peer: call.getPeer(), error: errorText(error) }, 'processing a call about changes failed');
      respond({ code: status.UNAVAILABLE, details: 'the call could not be processed: try again' });
    }
  },
});
