// SPDX-License-Identifier: Apache-2.0
// Packets that claim to come from an agent. A rule that is accepted means the same after a round trip, as it comes back in State.
#include <google/protobuf/stubs/logging.h>

#include "agent/known_fields.h"
#include "agent/wire.h"
#include "carrier.pb.h"
#include "fuzz.h"

namespace {
void Check(const weft::pb::Rule& from) {
  std::string why;
  const weft::RulePtr rule = weft::RuleFromWire(from, &why);
  FUZZ_CHECK(rule ? why.empty() : !why.empty());
  if (!rule) return;
  weft::pb::Rule again;
  weft::ToWire(*rule, &again);
  const weft::RulePtr same = weft::RuleFromWire(again, &why);
  FUZZ_CHECK(same && same->id == rule->id && same->pod == rule->pod && same->match == rule->match);
  FUZZ_CHECK(same->targets.size() == rule->targets.size() && same->context == rule->context);
}
}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weft::pb::ToCarrier packet;
  if (!packet.ParseFromArray(data, static_cast<int>(size))) return 0;
  for (const weft::pb::AgentMessage& message : packet.messages()) {
    weft::HasUnknownFields(message);
    if (message.has_answer() && message.answer().has_rule()) Check(message.answer().rule());
    for (const std::string& address : message.pod().addresses()) weft::IpFromWire(address);
    weft::TextToWire(message.revoke().reason());
  }
  return 0;
}
