{
  "targets": [
    {
      "target_name": "weft",
      "sources": ["src/addon.cc", "src/error.cc", "src/object.cc", "src/map.cc", "src/ring.cc", "src/netns.cc", "src/diag.cc", "src/btf.cc", "src/probe.cc", "src/lock.cc", "src/channel.cc"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "-fvisibility=hidden"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions"],
      "defines!": [],
      "libraries": ["-lbpf", "-lelf", "-lz"],
      "conditions": [["OS=='linux'", { "defines": ["NAPI_CPP_EXCEPTIONS"] }]]
    },
    {
      "target_name": "memory",
      "sources": ["src/memory.cc"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED", "NAPI_CPP_EXCEPTIONS"],
      "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type", "-fvisibility=hidden"],
      "cflags!": ["-fno-exceptions"],
      "cflags_cc!": ["-fno-exceptions"]
    }
  ]
}
