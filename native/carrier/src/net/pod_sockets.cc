// SPDX-License-Identifier: Apache-2.0
#include "net/pod_sockets.h"

#include <algorithm>
#include <cerrno>
#include <list>
#include <unordered_map>
#include <vector>

#include "base/loop.h"
#include "net/broker_client.h"
#include "net/broker_messages.h"

namespace weft {

namespace {
// A pod that connects seldom keeps few sockets, one that connects often gets them in batches: the stock doubles each time that it was used
// up within kBusyMs.
constexpr uint16_t kStockMin = 2;
constexpr uint16_t kStockMax = kBrokerSocketsMax / 2;
constexpr uint64_t kBusyMs = 1000;
}  // namespace

struct PodSockets::Stock {
  struct Waiting : Request {
    Waiting(Stock* stock, bool v4, OnSocket on_socket) : stock(stock), v4(v4), on_socket(std::move(on_socket)) {}
    ~Waiting() override {
      if (stock) stock->family(v4).waiting.remove(this);
    }
    Stock* stock;  // null: called back
    bool v4;
    OnSocket on_socket;
  };
  struct Family {
    std::vector<Fd> sockets;
    std::list<Waiting*> waiting;
    uint16_t wanted = 0;  // size of the stock
    uint64_t made_ms = 0;
    uint64_t used_ms = 0;
  };

  explicit Stock(PodKey pod) : pod(pod) {}
  Family& family(bool v4) { return families[v4 ? 0 : 1]; }

  PodKey pod;
  Family families[2];
  bool is_making = false;
};

struct PodSockets::Impl {
  Loop* loop;
  BrokerClient* broker;
  const uint64_t idle_ms;
  std::unordered_map<PodKey, std::unique_ptr<Stock>> stocks;
  Loop::TimerId trim_timer = 0;

  // Asks for what is missing of both families.
  void Refill(Stock* stock) {
    if (stock->is_making) return;
    uint16_t missing[2];
    for (int i = 0; i < 2; i++) {
      Stock::Family& family = stock->families[i];
      const size_t wanted = std::min<size_t>(family.wanted + family.waiting.size(), kStockMax);
      const size_t has = family.sockets.size();
      // Half a stock is kept, so that a busy pod does not wait for the next one.
      missing[i] = !family.waiting.empty() || has * 2 < wanted ? static_cast<uint16_t>(wanted - std::min(has, wanted)) : 0;
    }
    if (missing[0] == 0 && missing[1] == 0) return;
    stock->is_making = true;
    broker->Make(stock->pod, missing[0], missing[1]);
  }

  void Grow(Stock::Family* family) {
    const uint64_t now = loop->now_ms();
    family->used_ms = now;
    if (family->wanted == 0) family->wanted = kStockMin;
    if (trim_timer == 0) trim_timer = loop->After(idle_ms, [this] { Trim(); });
  }

  void Trim() {
    trim_timer = 0;
    bool is_any_left = false;
    for (const auto& [pod, stock] : stocks) {
      for (Stock::Family& family : stock->families) {
        if (family.wanted == 0) continue;
        if (family.waiting.empty() && loop->now_ms() - family.used_ms >= idle_ms) {
          family.wanted = 0;
          std::vector<Fd>().swap(family.sockets);
        } else {
          is_any_left = true;
        }
      }
    }
    if (is_any_left) trim_timer = loop->After(idle_ms, [this] { Trim(); });
  }

  void OnSockets(PodKey pod, std::vector<Fd> v4, std::vector<Fd> v6, int error) {
    const auto found = stocks.find(pod);
    if (found == stocks.end()) return;
    Stock* const stock = found->second.get();
    stock->is_making = false;
    std::vector<Fd>* const made[2] = {&v4, &v6};
    for (int i = 0; i < 2; i++) {
      Stock::Family& family = stock->families[i];
      // Nobody has wanted them for so long that the stock was closed: an answer that comes late must not fill it again.
      if (made[i]->empty() || family.wanted == 0) continue;
      const uint64_t now = loop->now_ms();
      if (now - family.made_ms < kBusyMs) family.wanted = std::min<uint16_t>(static_cast<uint16_t>(family.wanted * 2), kStockMax);
      family.made_ms = now;
      for (Fd& socket : *made[i]) family.sockets.push_back(std::move(socket));
    }
    // A callback may take a socket, remove the pod, or destroy other requests.
    for (int i = 0; i < 2; i++) {
      while (!stock->families[i].waiting.empty() && (error != 0 || !stock->families[i].sockets.empty())) {
        Stock::Family& family = stock->families[i];
        Stock::Waiting* const request = family.waiting.front();
        family.waiting.pop_front();
        request->stock = nullptr;
        Fd socket;
        if (!family.sockets.empty()) {
          socket = std::move(family.sockets.back());
          family.sockets.pop_back();
        }
        const OnSocket call = std::move(request->on_socket);
        const int failure = socket.valid() ? 0 : error;
        call(std::move(socket), failure);
        if (!stocks.contains(pod) || stocks.at(pod).get() != stock) return;
      }
    }
    if (error == 0) Refill(stock);
  }

  void Fail(std::unique_ptr<Stock> stock, int error) {
    for (Stock::Family& family : stock->families) {
      while (!family.waiting.empty()) {
        Stock::Waiting* const request = family.waiting.front();
        family.waiting.pop_front();
        request->stock = nullptr;
        const OnSocket call = std::move(request->on_socket);
        call(Fd(), error);
      }
    }
  }
};

PodSockets::PodSockets(Loop* loop, BrokerClient* broker, uint64_t idle_ms) : impl_(new Impl{loop, broker, idle_ms, {}, 0}) {
  broker->set_on_sockets([impl = impl_.get()](PodKey pod, std::vector<Fd> v4, std::vector<Fd> v6, int error) {
    impl->OnSockets(pod, std::move(v4), std::move(v6), error);
  });
}

PodSockets::~PodSockets() {
  impl_->broker->set_on_sockets(nullptr);
  impl_->loop->Cancel(&impl_->trim_timer);
  // Requests that outlive the stocks refer to nothing.
  for (const auto& [pod, stock] : impl_->stocks)
    for (Stock::Family& family : stock->families)
      for (Stock::Waiting* request : family.waiting) request->stock = nullptr;
}

void PodSockets::AddPod(PodKey pod, Fd netns) {
  auto& stock = impl_->stocks[pod];
  if (!stock) stock = std::make_unique<Stock>(pod);
  impl_->broker->AddPod(pod, std::move(netns));
}

void PodSockets::RemovePod(PodKey pod) {
  auto stock = impl_->stocks.extract(pod);
  if (stock.empty()) return;
  impl_->broker->RemovePod(pod);
  impl_->Fail(std::move(stock.mapped()), ESTALE);
}

std::unique_ptr<PodSockets::Request> PodSockets::Take(PodKey pod, bool v4, OnSocket on_socket) {
  const auto found = impl_->stocks.find(pod);
  if (found == impl_->stocks.end()) {
    on_socket(Fd(), ESTALE);
    return nullptr;
  }
  Stock* const stock = found->second.get();
  Stock::Family& family = stock->family(v4);
  impl_->Grow(&family);
  if (!family.sockets.empty() && family.waiting.empty()) {
    Fd socket = std::move(family.sockets.back());
    family.sockets.pop_back();
    impl_->Refill(stock);
    on_socket(std::move(socket), 0);
    return nullptr;
  }
  auto request = std::make_unique<Stock::Waiting>(stock, v4, std::move(on_socket));
  family.waiting.push_back(request.get());
  impl_->Refill(stock);
  return request;
}

}  // namespace weft
