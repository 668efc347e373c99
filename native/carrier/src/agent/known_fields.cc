// SPDX-License-Identifier: Apache-2.0
#include "agent/known_fields.h"

#include <google/protobuf/io/coded_stream.h>

namespace weft {

namespace {
namespace pb = ::weft::carrier::v1;

// Unknown fields count in the size of a message, and nothing else of protobuf's lite runtime shows them. So each message is compared with
// one of its known fields.
bool Differs(const google::protobuf::MessageLite& known, const google::protobuf::MessageLite& message) {
  return known.ByteSizeLong() != message.ByteSizeLong();
}

bool HasUnknown(const pb::Maps& message) {
  const pb::SockLayout& sock = message.sock();
  pb::SockLayout layout;
  layout.set_row_bytes(sock.row_bytes());
  layout.set_kind(sock.kind());
  layout.set_ip(sock.ip());
  layout.set_port(sock.port());
  layout.set_chosen(sock.chosen());
  layout.set_chosen_port(sock.chosen_port());
  layout.set_dialed(sock.dialed());
  layout.set_own(sock.own());
  if (Differs(layout, sock)) return true;
  pb::Maps known;
  known.set_generation(message.generation());
  if (message.has_sock()) *known.mutable_sock() = sock;
  return Differs(known, message);
}

bool HasUnknown(const pb::Pod& message) {
  pb::Pod known;
  known.set_cookie(message.cookie());
  known.set_uid(message.uid());
  known.set_identity(message.identity());
  *known.mutable_addresses() = message.addresses();
  *known.mutable_listeners() = message.listeners();
  return Differs(known, message);
}

bool HasUnknown(const pb::PodGone& message) {
  pb::PodGone known;
  known.set_cookie(message.cookie());
  known.set_grace_ms(message.grace_ms());
  return Differs(known, message);
}

bool HasUnknown(const pb::Identities& message) {
  pb::Identities known;
  *known.mutable_wanted() = message.wanted();
  known.set_trust_domain(message.trust_domain());
  return Differs(known, message);
}

bool HasUnknown(const pb::KeyWanted& message) {
  pb::KeyWanted known;
  known.set_identity(message.identity());
  known.set_turn(message.turn());
  return Differs(known, message);
}

bool HasUnknown(const pb::Certificate& message) {
  pb::Certificate known;
  known.set_identity(message.identity());
  known.set_turn(message.turn());
  known.set_chain_pem(message.chain_pem());
  known.set_roots_pem(message.roots_pem());
  known.set_serial(message.serial());
  known.set_not_after_ms(message.not_after_ms());
  return Differs(known, message);
}

bool HasUnknown(const pb::Answer& message) {
  pb::Answer known;
  known.set_flow(message.flow());
  if (message.has_rule_id()) known.set_rule_id(message.rule_id());
  if (message.has_refuse()) {
    pb::Refuse refuse;
    refuse.set_status(message.refuse().status());
    if (Differs(refuse, message.refuse())) return true;
    *known.mutable_refuse() = message.refuse();
  }
  // Borrowed for a moment: there is an answer for each new kind of connection, and its rule may be large.
  if (message.has_rule()) known.unsafe_arena_set_allocated_rule(const_cast<pb::Rule*>(&message.rule()));
  const bool differs = Differs(known, message);
  if (message.has_rule()) known.unsafe_arena_release_rule();
  return differs;
}

bool HasUnknown(const pb::Revoke& message) {
  pb::Revoke known;
  known.set_call(message.call());
  *known.mutable_rules() = message.rules();
  known.set_cut(message.cut());
  known.set_reason(message.reason());
  return Differs(known, message);
}

bool HasUnknown(const pb::Lease& message) {
  pb::Lease known;
  known.set_for_ms(message.for_ms());
  return Differs(known, message);
}

bool HasUnknown(const pb::ListFlows& message) {
  pb::ListFlows known;
  known.set_call(message.call());
  return Differs(known, message);
}

bool HasUnknown(const pb::Drain& message) {
  pb::Drain known;
  known.set_grace_ms(message.grace_ms());
  return Differs(known, message);
}

bool HasUnknown(const pb::Acknowledge& message) {
  pb::Acknowledge known;
  known.set_worker(message.worker());
  known.set_batch(message.batch());
  return Differs(known, message);
}

// Of a message that is a field with a number below 16.
size_t FieldSize(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  return 1 + google::protobuf::io::CodedOutputStream::VarintSize32(static_cast<uint32_t>(size)) + size;
}

template <typename Kind>
bool HasUnknown(const pb::AgentMessage& message, const Kind& kind) {
  return HasUnknown(kind) || message.ByteSizeLong() != FieldSize(kind);
}
}  // namespace

bool HasUnknownFields(const pb::Pod& message) { return HasUnknown(message); }

bool HasUnknownFields(const pb::AgentMessage& message) {
  switch (message.kind_case()) {
    case pb::AgentMessage::kMaps:
      return HasUnknown(message, message.maps());
    case pb::AgentMessage::kPod:
      return message.ByteSizeLong() != FieldSize(message.pod());
    case pb::AgentMessage::kPodGone:
      return HasUnknown(message, message.pod_gone());
    case pb::AgentMessage::kIdentities:
      return HasUnknown(message, message.identities());
    case pb::AgentMessage::kKeyWanted:
      return HasUnknown(message, message.key_wanted());
    case pb::AgentMessage::kCertificate:
      return HasUnknown(message, message.certificate());
    case pb::AgentMessage::kAnswer:
      return HasUnknown(message, message.answer());
    case pb::AgentMessage::kRevoke:
      return HasUnknown(message, message.revoke());
    case pb::AgentMessage::kLease:
      return HasUnknown(message, message.lease());
    case pb::AgentMessage::kListFlows:
      return HasUnknown(message, message.list_flows());
    case pb::AgentMessage::kDrain:
      return HasUnknown(message, message.drain());
    case pb::AgentMessage::kAcknowledge:
      return HasUnknown(message, message.acknowledge());
    case pb::AgentMessage::kHello:
    case pb::AgentMessage::KIND_NOT_SET:
      return false;
  }
  return false;
}

bool HasUnknownFields(const pb::ToCarrier& packet) {
  size_t known = 0;
  for (const pb::AgentMessage& message : packet.messages()) known += FieldSize(message);
  return packet.ByteSizeLong() != known;
}

}  // namespace weft
