/** Types of Weft's conditions, which the control plane writes and `weft check` and `weft status` read. */
export const enforcedType = 'weft.dev/Enforced';
export const enrolledCondition = 'weft.dev/Enrolled';
