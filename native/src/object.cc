// SPDX-License-Identifier: Apache-2.0
// Loads one object. Only its pins outlive the call: maps by name, links by path. The program of an already pinned link is
// replaced atomically, so a hook is never without a program while an agent restarts.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "addon.h"
#include "netns.h"

namespace weft {

namespace {

struct Attachment {
  std::string program;
  std::string kind;  // "cgroup", "netns", or "sockmap"; for "sockmap", target is the map's name and pin is unused
  std::string target;
  std::string pin;
};

class Loader : public Napi::AsyncWorker {
 public:
  Loader(Napi::Env env, std::string path, std::string pin_dir, std::vector<uint8_t> rodata,
         std::vector<Attachment> attachments)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        path_(std::move(path)),
        pin_dir_(std::move(pin_dir)),
        rodata_(std::move(rodata)),
        attachments_(std::move(attachments)) {}

  Napi::Promise Promise() { return deferred_.Promise(); }

  void Execute() override {
    CaptureLibbpfLog();
    std::vector<char> verifier(256 * 1024);
    LIBBPF_OPTS(bpf_object_open_opts, options, .pin_root_path = pin_dir_.c_str(),
                .kernel_log_buf = verifier.data(), .kernel_log_size = verifier.size(), .kernel_log_level = 0);
    bpf_object* object = bpf_object__open_file(path_.c_str(), &options);
    if (!object) return Fail("open " + path_, errno, nullptr);
    if (Fill(object) && Load(object, verifier.data())) {
      for (const Attachment& attachment : attachments_)
        if (!Attach(object, attachment)) break;
    }
    bpf_object__close(object);
  }

  void OnOK() override {
    Napi::HandleScope scope(Env());
    if (failed_)
      deferred_.Reject(ToError(Env(), failure_).Value());
    else
      deferred_.Resolve(Env().Undefined());
  }

 private:
  void Fail(const std::string& operation, int number, const char* verifier) {
    failed_ = true;
    failure_ = Failure{operation, number, TakeLibbpfLog() + (verifier ? verifier : "")};
  }

  bool Fill(bpf_object* object) {
    if (rodata_.empty()) return true;
    bpf_map* map;
    bpf_object__for_each_map(map, object) {
      const char* name = bpf_map__name(map);
      const char* dot = strrchr(name, '.');
      if (!dot || strcmp(dot, ".rodata") != 0) continue;
      size_t size = 0;
      const void* value = bpf_map__initial_value(map, &size);
      if (!value || size != rodata_.size()) {
        Fail("set read-only data", EINVAL, nullptr);
        return false;
      }
      if (int error = bpf_map__set_initial_value(map, rodata_.data(), rodata_.size())) {
        Fail("set read-only data", -error, nullptr);
        return false;
      }
      return true;
    }
    Fail("find read-only data", ENOENT, nullptr);
    return false;
  }

  bool Load(bpf_object* object, const char* verifier) {
    int error = bpf_object__load(object);
    if (error) Fail("load " + path_, -error, verifier);
    return !error;
  }

  bool Attach(bpf_object* object, const Attachment& to) {
    bpf_program* program = bpf_object__find_program_by_name(object, to.program.c_str());
    if (!program) {
      Fail("find program " + to.program, ENOENT, nullptr);
      return false;
    }
    if (to.kind == "sockmap") {
      // The pinned map itself holds the program. Sockets already in the map keep the program under which they entered.
      int map = bpf_object__find_map_fd_by_name(object, to.target.c_str());
      if (map < 0 || bpf_prog_attach(bpf_program__fd(program), map, BPF_SK_MSG_VERDICT, 0)) {
        Fail("attach " + to.program + " to map " + to.target, map < 0 ? ENOENT : errno, nullptr);
        return false;
      }
      return true;
    }
    int pinned = bpf_obj_get(to.pin.c_str());
    if (pinned < 0 && errno != ENOENT) {
      // Whether a link exists is unknown. A second link beside it could not be found again.
      Fail("open " + to.pin, errno, nullptr);
      return false;
    }
    if (pinned >= 0) {
      int error = bpf_link_update(pinned, bpf_program__fd(program), nullptr);
      int number = errno;
      close(pinned);
      if (!error) return true;
      // ENOLINK: the link is defunct, its namespace or cgroup is gone. It is replaced by a new link if a target is given.
      if (number != ENOLINK || to.target.empty()) {
        Fail("replace program of " + to.pin, number, nullptr);
        return false;
      }
      unlink(to.pin.c_str());
    }
    int failed = 0;
    int target = to.kind == "netns" ? OpenNetns(to.target, &failed) : open(to.target.c_str(), O_RDONLY | O_CLOEXEC);
    if (target < 0) {
      Fail("open " + to.target, failed ? failed : errno, nullptr);
      return false;
    }
    bpf_link* link = to.kind == "netns" ? bpf_program__attach_netns(program, target)
                                        : bpf_program__attach_cgroup(program, target);
    int number = errno;
    close(target);
    if (!link) {
      Fail("attach " + to.program + " to " + to.target, number, nullptr);
      return false;
    }
    int error = bpf_link__pin(link, to.pin.c_str());
    if (error) Fail("pin " + to.pin, -error, nullptr);
    bpf_link__destroy(link);  // the pin keeps the link alive
    return !error;
  }

  Napi::Promise::Deferred deferred_;
  std::string path_, pin_dir_;
  std::vector<uint8_t> rodata_;
  std::vector<Attachment> attachments_;
  bool failed_ = false;
  Failure failure_;
};

// load(path, pinDir, rodata: Uint8Array, attachments: {program, kind, target, pin}[]): Promise<void>
Napi::Value Load(const Napi::CallbackInfo& info) {
  auto bytes = info[2].As<Napi::Uint8Array>();
  auto list = info[3].As<Napi::Array>();
  std::vector<Attachment> attachments;
  for (uint32_t i = 0; i < list.Length(); i++) {
    auto item = list.Get(i).As<Napi::Object>();
    attachments.push_back({item.Get("program").As<Napi::String>(), item.Get("kind").As<Napi::String>(),
                           item.Get("target").As<Napi::String>(), item.Get("pin").As<Napi::String>()});
  }
  auto* loader = new Loader(info.Env(), info[0].As<Napi::String>(), info[1].As<Napi::String>(),
                            std::vector<uint8_t>(bytes.Data(), bytes.Data() + bytes.ByteLength()),
                            std::move(attachments));
  auto promise = loader->Promise();
  loader->Queue();
  return promise;
}

// A descriptor of the object pinned at a path; -1 if nothing is pinned there. Throws for any other failure.
int OpenPin(Napi::Env env, const std::string& pin) {
  int fd = bpf_obj_get(pin.c_str());
  if (fd < 0 && errno != ENOENT) Throw(env, "open " + pin, errno);
  return fd < 0 ? -1 : fd;
}

// detach(pin): detaches the link even if other references exist, and removes its pin. False if nothing was pinned there.
Napi::Value Detach(const Napi::CallbackInfo& info) {
  std::string pin = info[0].As<Napi::String>();
  int fd = OpenPin(info.Env(), pin);
  if (fd < 0) return Napi::Boolean::New(info.Env(), false);
  bpf_link_detach(fd);
  close(fd);
  if (unlink(pin.c_str()) && errno != ENOENT) Throw(info.Env(), "unlink " + pin, errno);
  return Napi::Boolean::New(info.Env(), true);
}

// openLink(pin): a descriptor of the pinned link; -1 if nothing is pinned there.
Napi::Value OpenLink(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), OpenPin(info.Env(), info[0].As<Napi::String>()));
}

// detachLink(fd): detaches the link even if other references exist. The caller still owns the descriptor.
Napi::Value DetachLink(const Napi::CallbackInfo& info) {
  if (bpf_link_detach(info[0].As<Napi::Number>().Int32Value())) Throw(info.Env(), "detach link", errno);
  return info.Env().Undefined();
}

// linkNetns(pin): inode of the network namespace to which the pinned link is attached; 0 if that namespace is gone or the link
// was detached, -1 if nothing is pinned there.
Napi::Value LinkNetns(const Napi::CallbackInfo& info) {
  std::string pin = info[0].As<Napi::String>();
  int fd = OpenPin(info.Env(), pin);
  if (fd < 0) return Napi::Number::New(info.Env(), -1);
  bpf_link_info about = {};
  uint32_t length = sizeof(about);
  int error = bpf_obj_get_info_by_fd(fd, &about, &length);
  int number = errno;
  close(fd);
  if (error) Throw(info.Env(), "inspect " + pin, number);
  if (about.type != BPF_LINK_TYPE_NETNS) Throw(info.Env(), "inspect " + pin, EINVAL);
  return Napi::Number::New(info.Env(), about.netns.netns_ino);
}

}  // namespace

void InitObject(Napi::Env env, Napi::Object exports) {
  exports.Set("load", Napi::Function::New(env, Load));
  exports.Set("detach", Napi::Function::New(env, Detach));
  exports.Set("openLink", Napi::Function::New(env, OpenLink));
  exports.Set("detachLink", Napi::Function::New(env, DetachLink));
  exports.Set("linkNetns", Napi::Function::New(env, LinkNetns));
}

}  // namespace weft
