// SPDX-License-Identifier: Apache-2.0
// Between the messages of carrier.proto and the types of the rules. What a newer agent says and this version does not know makes the
// whole rule invalid: it could be a condition.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "carrier.pb.h"
#include "rules/decider.h"
#include "rules/rule.h"

namespace weft {

namespace pb = ::weft::carrier::v1;

// Packets are at most 128 KiB; a message is begun only below the second limit.
constexpr size_t kPacketBytesMax = 128 << 10;
constexpr size_t kPacketBytesFull = 64 << 10;
// Of one rule, as a message.
constexpr size_t kRuleBytesMax = 60 << 10;
constexpr size_t kContextBytesMax = 8 << 10;
constexpr int kTargetsMax = 1024;

// Text that peers have a part in: bytes that are not printable ASCII become '?', since a string of protobuf is UTF-8.
std::string TextToWire(std::string_view from, size_t bytes_max = 1024);

// A line of the agent's log.
pb::CarrierMessage LogToWire(Level level, std::string_view text);

std::optional<Ip> IpFromWire(const std::string& from);
std::optional<Address> AddressFromWire(const pb::Address& from);
// Null, with a reason: the rule is not valid.
RulePtr RuleFromWire(const pb::Rule& from, std::string* why);

void ToWire(const Address& from, pb::Address* to);
void ToWire(const Rule& from, pb::Rule* to);
void ToWire(const CapturedQuestion& from, pb::CapturedQuestion* to);
void ToWire(const TunnelQuestion& from, pb::TunnelQuestion* to);
void ToWire(const PlainQuestion& from, pb::PlainQuestion* to);

}  // namespace weft
