/** Values of carrier.proto and the agent's own. Decoders throw WEFT_CARRIER_MESSAGE: the connection to the carrier then ends. */
import { errorText, WeftError } from '../../src/base/errors.js';
import { ipFromBytes, ipTo16, type IpAddress, type SocketAddress } from '../../src/model/address.js';
import {
  FromCarrier,
  ToCarrier,
  Version,
  type Address,
  type AgentMessage,
  type CarrierMessage,
  type ObservedRequests,
} from './gen/carrier.js';

/** Version of the messages: carrier.proto states it for both sides. */
export const protocolVersion: number = Version.VERSION_CURRENT;

export type ToCarrierKind = NonNullable<AgentMessage['kind']>;
export type FromCarrierKind = NonNullable<CarrierMessage['kind']>;

/** One message as part of a packet: encoded messages in a row are one ToCarrier. */
export const encodeMessage = (kind: ToCarrierKind): Buffer =>
  Buffer.from(ToCarrier.encode({ messages: [{ kind }] }).finish());

export interface CarrierPacket {
  readonly messages: readonly FromCarrierKind[];
  /** The carrier's thread, and the number by which the ends of flows in this packet are acknowledged; 0: it has none. */
  readonly worker: number;
  readonly batch: number;
  readonly observed: readonly ObservedRequests[];
}

/** An unknown message is an error: a carrier that means something else must not be taken for one that agrees. */
export function decodePacket(bytes: Uint8Array): CarrierPacket {
  let packet: FromCarrier;
  try {
    packet = FromCarrier.decode(bytes);
  } catch (error) {
    throw malformed(errorText(error));
  }
  const messages = packet.messages.map(({ kind }) => {
    if (!kind) throw malformed('a message of an unknown kind');
    return kind;
  });
  const { worker, batch, observed, observedCalls } = packet;
  return { messages, worker, batch, observed: [...observed, ...observedCalls] };
}

export const malformed = (why: string): WeftError =>
  new WeftError('WEFT_CARRIER_MESSAGE', `the carrier sent what this agent does not understand: ${why}`);

/** The carrier is connected and does not respond. */
export const silent = (why: string): WeftError =>
  new WeftError(
    'WEFT_CARRIER_SILENT',
    `the carrier does not respond: ${why}. It is tried again; if that lasts, end the carrier`,
    { retryable: true },
  );

export const encodeIp = (ip: IpAddress): Buffer => Buffer.from(ipTo16(ip));
export const encodeAddress = ({ ip, port }: SocketAddress): Address => ({ ip: encodeIp(ip), port });

/** Undefined if the address is absent or has no port. */
export function decodeAddress(address: Address | undefined): SocketAddress | undefined {
  if (!address || address.port === 0) return undefined;
  if (address.ip.length !== 16 || address.port > 65_535) throw malformed('an address');
  return { ip: ipFromBytes(address.ip), port: address.port };
}

export function requireAddress(address: Address | undefined): SocketAddress {
  const decoded = decodeAddress(address);
  if (!decoded) throw malformed('no address');
  return decoded;
}
