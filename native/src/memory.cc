// SPDX-License-Identifier: Apache-2.0
// Memory that several processes share: a memfd (memfd_create(2)) that one process makes and passes on as a descriptor. An addon of its own,
// because the processes of a waypoint do not need libbpf.
#include <fcntl.h>
#include <napi.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace {

[[noreturn]] void Fail(Napi::Env env, const std::string& operation, int number) {
  Napi::Error error = Napi::Error::New(env, operation + ": " + strerror(number));
  error.Set("errno", Napi::Number::New(env, number));
  error.Set("log", Napi::String::New(env, ""));
  throw error;
}

// create(bytes): the descriptor of new memory, filled with zeros. Its size is sealed: no process can shrink it under another one's mapping.
Napi::Value Create(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = memfd_create("weft", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) Fail(env, "memfd_create", errno);
  if (ftruncate(fd, info[0].As<Napi::Number>().Int64Value()) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    int number = errno;
    close(fd);
    Fail(env, "size of the shared memory", number);
  }
  return Napi::Number::New(env, fd);
}

// map(fd): the memory as an ArrayBuffer. The descriptor may be closed afterwards. Only memory of a sealed size is mapped: an access past the
// end would kill the process.
Napi::Value Map(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = info[0].As<Napi::Number>().Int32Value();
  struct stat status = {};
  if (fstat(fd, &status) != 0) Fail(env, "the descriptor of the shared memory", errno);
  int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || status.st_size == 0) Fail(env, "the descriptor is no sealed memory", EINVAL);
  size_t size = static_cast<size_t>(status.st_size);
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) Fail(env, "mmap", errno);
  return Napi::ArrayBuffer::New(env, at, size, [size](Napi::Env, void* data) { munmap(data, size); });
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("create", Napi::Function::New(env, Create));
  exports.Set("map", Napi::Function::New(env, Map));
  return exports;
}

}  // namespace

NODE_API_MODULE(memory, Init)
