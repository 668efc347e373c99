/** Where Weft's parts run unless something else is said. */
export const systemNamespace = 'weft-system';
