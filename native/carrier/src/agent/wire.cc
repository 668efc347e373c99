// SPDX-License-Identifier: Apache-2.0
#include "agent/wire.h"

#include <cstring>
#include <utility>

namespace weft {

namespace {
constexpr size_t kNameBytesMax = 2048;
constexpr int kExpectedMax = 256;
constexpr size_t kHeaderBytesMax = 16 << 10;

bool TargetFromWire(const pb::Target& from, Target* to) {
  switch (from.kind_case()) {
    case pb::Target::kTunnel: {
      const pb::TunnelTarget& tunnel = from.tunnel();
      const std::optional<Address> next = AddressFromWire(tunnel.next());
      if (!next || tunnel.authority().size() > kNameBytesMax ||
          tunnel.baggage().size() > kContextBytesMax || tunnel.expected_size() > kExpectedMax)
        return false;
      *to = TunnelTarget{*next, tunnel.authority(), {tunnel.expected().begin(), tunnel.expected().end()}, tunnel.baggage(),
                         tunnel.spread()};
      return true;
    }
    case pb::Target::kDirect: {
      const std::optional<Address> address = AddressFromWire(from.direct().to());
      if (!address) return false;
      const std::optional<Address> client = from.direct().has_client() ? AddressFromWire(from.direct().client()) : Address();
      if (!client) return false;
      *to = DirectTarget{from.direct().from(), *address, from.direct().show_client(), *client};
      return true;
    }
    case pb::Target::KIND_NOT_SET:
      return false;
  }
  return false;
}

bool MatchFromWire(const pb::Rule& from, decltype(Rule::match)* to) {
  switch (from.match_case()) {
    case pb::Rule::kCaptured: {
      const std::optional<Address> dialed = AddressFromWire(from.captured().dialed());
      const std::optional<Address> picked =
          from.captured().has_picked() ? AddressFromWire(from.captured().picked()) : Address();
      const std::optional<Ip> client = IpFromWire(from.captured().client_ip());
      if (!dialed || !picked || !client) return false;
      *to = CapturedMatch{*dialed, *picked, *client};
      return true;
    }
    case pb::Rule::kTunnel: {
      const std::optional<Ip> remote = IpFromWire(from.tunnel().remote_ip());
      const std::optional<Address> authority = AddressFromWire(from.tunnel().authority());
      if (!remote || !authority || from.tunnel().peer().size() > kNameBytesMax) return false;
      *to = TunnelMatch{from.tunnel().peer(), *remote, *authority};
      return true;
    }
    case pb::Rule::kPlain: {
      const std::optional<Ip> remote = IpFromWire(from.plain().remote_ip());
      const std::optional<Address> local = AddressFromWire(from.plain().local());
      if (!remote || !local) return false;
      *to = PlainMatch{*remote, *local};
      return true;
    }
    case pb::Rule::MATCH_NOT_SET:
      *to = std::monostate();
      return true;
  }
  return false;
}

void IpToWire(const Ip& from, std::string* to) { to->assign(reinterpret_cast<const char*>(from.bytes.data()), from.bytes.size()); }

void TargetToWire(const Target& from, pb::Target* to) {
  if (const auto* tunnel = std::get_if<TunnelTarget>(&from)) {
    pb::TunnelTarget* const out = to->mutable_tunnel();
    ToWire(tunnel->next, out->mutable_next());
    out->set_authority(tunnel->authority);
    for (const std::string& identity : tunnel->expected) out->add_expected(identity);
    out->set_baggage(tunnel->baggage);
    out->set_spread(tunnel->spread);
  } else {
    const auto& direct = std::get<DirectTarget>(from);
    to->mutable_direct()->set_from(direct.from);
    ToWire(direct.to, to->mutable_direct()->mutable_to());
    to->mutable_direct()->set_show_client(direct.show_client);
    if (direct.client.port != 0) ToWire(direct.client, to->mutable_direct()->mutable_client());
  }
}
}  // namespace

std::string TextToWire(std::string_view from, size_t bytes_max) {
  std::string text(from.substr(0, bytes_max));
  for (char& c : text)
    if (c < 0x20 || c > 0x7e) c = '?';
  return text;
}

pb::CarrierMessage LogToWire(Level level, std::string_view text) {
  pb::CarrierMessage message;
  message.mutable_log()->set_level(level == Level::kError ? "error" : level == Level::kWarn ? "warn" : "info");
  message.mutable_log()->set_text(TextToWire(text));
  return message;
}

std::optional<Ip> IpFromWire(const std::string& from) {
  Ip ip;
  if (from.size() != ip.bytes.size()) return std::nullopt;
  memcpy(ip.bytes.data(), from.data(), ip.bytes.size());
  return ip;
}

std::optional<Address> AddressFromWire(const pb::Address& from) {
  const std::optional<Ip> ip = IpFromWire(from.ip());
  if (!ip || from.port() == 0 || from.port() > 65'535) return std::nullopt;
  return Address{*ip, static_cast<uint16_t>(from.port())};
}

RulePtr RuleFromWire(const pb::Rule& from, std::string* why) {
  auto rule = std::make_shared<Rule>();
  rule->id = from.id();
  rule->pod = from.pod();
  const auto fail = [&](const char* reason) {
    *why = "rule " + std::to_string(from.id()) + ": " + reason;
    return RulePtr();
  };
  if (from.id() == 0) return fail("no id");
  if (from.ByteSizeLong() > kRuleBytesMax) return fail("it is larger than 60 KiB");
  if (from.context().size() > kContextBytesMax) return fail("its context is larger than 8 KiB");
  if (from.targets().empty() || from.targets_size() > kTargetsMax) return fail("no target, or more than 1024");
  if (!MatchFromWire(from, &rule->match)) return fail("its match is not valid, or of a kind that this carrier does not know");
  for (const pb::Target& target : from.targets())
    if (!TargetFromWire(target, &rule->targets.emplace_back()))
      return fail("a target is not valid, or of a kind that this carrier does not know");
  rule->context = from.context();
  rule->observe = from.observe();
  // Unknown fields count in the size of a message, at any depth.
  pb::Rule again;
  ToWire(*rule, &again);
  if (again.ByteSizeLong() != from.ByteSizeLong()) return fail("it has a field that this carrier does not know");
  return rule;
}

void ToWire(const Address& from, pb::Address* to) {
  IpToWire(from.ip, to->mutable_ip());
  to->set_port(from.port);
}

void ToWire(const Rule& from, pb::Rule* to) {
  to->set_id(from.id);
  to->set_pod(from.pod);
  if (const auto* captured = std::get_if<CapturedMatch>(&from.match)) {
    ToWire(captured->dialed, to->mutable_captured()->mutable_dialed());
    if (captured->picked.port != 0) ToWire(captured->picked, to->mutable_captured()->mutable_picked());
    IpToWire(captured->client, to->mutable_captured()->mutable_client_ip());
  } else if (const auto* tunnel = std::get_if<TunnelMatch>(&from.match)) {
    to->mutable_tunnel()->set_peer(tunnel->peer);
    IpToWire(tunnel->remote, to->mutable_tunnel()->mutable_remote_ip());
    ToWire(tunnel->authority, to->mutable_tunnel()->mutable_authority());
  } else if (const auto* plain = std::get_if<PlainMatch>(&from.match)) {
    IpToWire(plain->remote, to->mutable_plain()->mutable_remote_ip());
    ToWire(plain->local, to->mutable_plain()->mutable_local());
  }
  for (const Target& target : from.targets) TargetToWire(target, to->add_targets());
  to->set_context(from.context);
  to->set_observe(from.observe);
}

void ToWire(const CapturedQuestion& from, pb::CapturedQuestion* to) {
  ToWire(from.client, to->mutable_client());
  if (from.dialed.port != 0) ToWire(from.dialed, to->mutable_dialed());
  if (from.picked.port != 0) ToWire(from.picked, to->mutable_picked());
}

void ToWire(const TunnelQuestion& from, pb::TunnelQuestion* to) {
  to->set_peer(TextToWire(from.peer, kNameBytesMax));
  ToWire(from.remote, to->mutable_remote());
  ToWire(from.local, to->mutable_local());
  ToWire(from.authority, to->mutable_authority());
  to->set_forwarded(TextToWire(from.forwarded, kHeaderBytesMax));
  to->set_baggage(TextToWire(from.baggage, kHeaderBytesMax));
  to->set_traceparent(TextToWire(from.traceparent, kHeaderBytesMax));
  to->set_source_identity(TextToWire(from.source_identity, kHeaderBytesMax));
}

void ToWire(const PlainQuestion& from, pb::PlainQuestion* to) {
  ToWire(from.remote, to->mutable_remote());
  ToWire(from.local, to->mutable_local());
}

}  // namespace weft
