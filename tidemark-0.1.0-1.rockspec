rockspec_format = "3.0"
package = "tidemark"
version = "0.1.0-1"
source = { url = "git+https://github.com/tidemark/tidemark.git", tag = "v0.1.0" }
description = {
  summary = "An embedded, event-sourced document store",
  detailed = [[
Keeps JSON documents in a concurrent in-memory map, whose reads never wait, and every change in a checksummed event log
with group commit. Written in C for Lua 5.4.]],
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua >= 5.4, < 5.5" }
external_dependencies = {
  ISAL = { header = "isa-l/crc.h" },
  XXHASH = { header = "xxhash.h" },
  OPENSSL = { header = "openssl/evp.h" },
  SIMDJSON = { header = "simdjson.h" },
}
build = {
  type = "make",
  build_target = "rock",
  install_target = "install-rock",
  build_variables = {
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
    LUA = "$(LUA)",
    CFLAGS = "$(CFLAGS)",
  },
  install_variables = {
    ROCK_LUA = "$(LIBDIR)",
    ROCK_BIN = "$(BINDIR)",
  },
}
test = { type = "command", command = "make test" }
