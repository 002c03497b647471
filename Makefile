# Everything that is built goes into $(B). `make help` lists the targets.

B ?= build
CC = gcc
CXX = g++
V ?=
Q = $(if $(V),,@echo "  $(1) $@";)
PREFIX ?= /usr/local
LUA ?= lua5.4
SANITIZE ?=
WERROR ?=
WARNINGS = -Wall -Wextra -Wshadow $(if $(WERROR),-Werror)
C_WARNINGS = $(WARNINGS) -Wstrict-prototypes -Wmissing-prototypes
OPTIMIZE ?= -O2 -g
COMMON = -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread $(OPTIMIZE) $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) -MMD -MP
LUA_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null || echo -I/usr/include/lua5.4)
LUA_LIBS := $(shell pkg-config --libs lua5.4 2>/dev/null || echo -llua5.4)
CFLAGS_ALL = -std=gnu11 $(C_WARNINGS) $(COMMON) $(LUA_CFLAGS) $(CFLAGS)
CXXFLAGS_ALL = -std=c++17 $(WARNINGS) $(COMMON) $(CXXFLAGS)
ENGINE_LIBS = -lisal -lxxhash -lcrypto -lpthread
LIBS = $(ENGINE_LIBS) -lsimdjson -lstdc++ -lm
LLHTTP_SOURCES ?= /usr/share/llhttp
LLHTTP_INCLUDE ?= /usr/share/include/llhttp
LUV_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags lua5.4-luv libuv 2>/dev/null))
LUV_LIBS := $(shell pkg-config --libs lua5.4-luv libuv 2>/dev/null)
HTTP_CFLAGS = -DLLHTTP_STRICT_MODE=1 -isystem $(LLHTTP_INCLUDE) $(LUV_CFLAGS)

engine_objects := $(patsubst %.c,$(B)/%.o,$(wildcard engine/*.c))
command_sources := bindings/main.c bindings/tools.c $(wildcard bindings/http/*.c bindings/server/*.c bindings/load/*.c)
module_objects := $(patsubst %.c,$(B)/%.o,$(filter-out $(command_sources),$(wildcard bindings/*.c))) $(B)/bindings/json.o
command_objects := $(patsubst %.c,$(B)/%.o,$(wildcard $(command_sources)))
llhttp_objects := $(addprefix $(B)/llhttp/,llhttp.o api.o http.o)
command_chunks := $(sort $(wildcard bindings/commands/*.lua))
engine_specs := $(patsubst spec/engine/%.c,$(B)/spec/%,$(wildcard spec/engine/*_spec.c))
binding_specs := $(patsubst spec/bindings/%.c,$(B)/spec/%,$(wildcard spec/bindings/*_spec.c))

.DEFAULT_GOAL := all
.PHONY: soak bench bench-large bench-setup profile bench-programs bench-http fuzz fuzzers crashtest crashtest-real plant all help setup run test test-asan test-tsan lint format coverage fresh install uninstall clean specs rock install-rock
.SECONDARY:
.DELETE_ON_ERROR:

all: $(B)/libtidemark.a $(B)/tidemark.so $(B)/tidemark $(B)/env ## build the command, the module and the library

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: ## install what is missing of Debian's packages
	@scripts/setup

run: setup ## build, then run the main job in a fresh directory under build/
	@$(MAKE) --no-print-directory -j2 all
	@$(LUA) scripts/main-job.lua $(B)

CRASH ?= yes
test: setup ## build, then run all specs
	@$(MAKE) --no-print-directory -j2 all specs
	@CRASH=$(CRASH) scripts/test $(B)

test-asan: setup ## the specs under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(MAKE) --no-print-directory -j2 B=build/asan SANITIZE=address,undefined all specs
	@TIDEMARK_SANITIZER=asan scripts/test build/asan

test-tsan: setup ## the specs under ThreadSanitizer
	@$(MAKE) --no-print-directory -j2 B=build/tsan SANITIZE=thread all specs
	@TIDEMARK_SANITIZER=tsan scripts/test build/tsan

coverage: setup ## lines and branches of the engine that the specs run, in build/coverage/html
	@$(MAKE) --no-print-directory -j2 B=build/coverage OPTIMIZE="-O1 -g --coverage -fprofile-update=atomic" all specs
	@find build/coverage -name '*.gcda' -delete
	@TIDEMARK_SANITIZER=coverage scripts/test build/coverage
	@scripts/coverage build/coverage

MINUTES ?= 2
crashtest: setup ## workloads and faults at random on a simulated disk, for MINUTES
	@$(MAKE) --no-print-directory -j2 $(B)/crashtest
	@$(B)/crashtest random --seconds $$(($(MINUTES) * 60))

crashtest-real: all ## power cuts of a real file system, where the kernel has dm-flakey
	@spec/crash/real_disk

soak: setup ## a long mixed load, sampled each second, for MINUTES (15): does anything grow?
	@$(MAKE) --no-print-directory -j2 all
	@$(LUA) scripts/soak.lua --build $(B) --seconds $$(($(if $(filter file,$(origin MINUTES)),15,$(MINUTES)) * 60))

plant: setup ## whether the tests notice the bugs of engine/plant.h
	@scripts/plant

FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 0
fuzz: setup ## libFuzzer on request parsing, JSON and the log, FUZZ_SECONDS each; FUZZ_SEED 0: another each time
	@$(MAKE) --no-print-directory -j2 B=build/fuzz CC=clang CXX=clang++ SANITIZE=address,fuzzer-no-link fuzzers
	@scripts/fuzz build/fuzz $(FUZZ_SECONDS) $(FUZZ_SEED)

lint: setup ## clang-format, cppcheck and luacheck
	@scripts/lint

format: ## put the sources into their format
	@clang-format -i engine/*.[ch] bindings/*.[ch] bindings/*/*.[ch] bindings/*.cc spec/*/*.c

fresh: ## make run and make test in a new minimal Debian
	@scripts/fresh 'make run' 'make test'

install: all ## install module, command, header and library under PREFIX
	install -D -m 755 $(B)/tidemark $(DESTDIR)$(PREFIX)/bin/tidemark
	install -D -m 755 $(B)/tidemark.so $(DESTDIR)$(PREFIX)/lib/lua/5.4/tidemark.so
	install -D -m 644 $(B)/libtidemark.a $(DESTDIR)$(PREFIX)/lib/libtidemark.a
	install -D -m 644 engine/tidemark.h $(DESTDIR)$(PREFIX)/include/tidemark.h
	mkdir -p $(DESTDIR)$(PREFIX)/lib/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|' engine/tidemark.pc.in > $(DESTDIR)$(PREFIX)/lib/pkgconfig/tidemark.pc

rock: $(B)/tidemark.so $(B)/tidemark

install-rock: rock
	install -D -m 755 $(B)/tidemark.so $(ROCK_LUA)/tidemark.so
	install -D -m 755 $(B)/tidemark $(ROCK_BIN)/tidemark

uninstall: ## undo install
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/tidemark lib/lua/5.4/tidemark.so lib/libtidemark.a include/tidemark.h lib/pkgconfig/tidemark.pc)

clean: ## remove everything built
	rm -rf $(B)

specs: $(engine_specs) $(binding_specs) $(B)/spec/slow_disk.so $(B)/crashtest

bench_programs := $(addprefix $(B)/bench/bin/,ceiling sketch tidemark lmdb rocksdb leveldb wiredtiger sqlite lfht ck redis) $(B)/bench/bench_parts.so
bench_common := $(addprefix scripts/bench/,common.c result.c) bindings/load/histogram.c
bench_libs_ceiling = -lisal
bench_libs_sketch = -lisal
bench_libs_redis = -lhiredis
bench_libs_tidemark = $(B)/libtidemark.a $(ENGINE_LIBS)
bench_libs_lmdb = -llmdb
bench_libs_rocksdb = -lrocksdb
bench_libs_leveldb = -lleveldb
bench_libs_wiredtiger = -lwiredtiger
bench_libs_sqlite = -lsqlite3
bench_libs_lfht = -lurcu-cds -lurcu-memb
bench_libs_ck = -lck

bench: bench-setup ## the engine and its server beside what is possible and what people would take instead
	@lua5.4 scripts/bench.lua --build $(B) --seconds 1260 --http yes

bench-large: bench-setup ## the lines of many documents, with 10,000,000; needs 20 GiB of memory
	@lua5.4 scripts/bench.lua --build $(B) --documents 10000000 --rounds 1 --only '^create/large$$|^get/large/|^get%-many/[cv]|^recovery$$' --report report-large

bench-setup: setup
	@$(MAKE) --no-print-directory -j2 all $(B)/constant_server
	@scripts/bench/setup
	@scripts/bench_http/setup $(B)
	@$(MAKE) --no-print-directory bench-programs

profile: bench-setup ## where the time of an operation goes; needs perf
	@lua5.4 scripts/bench/profile.lua --build $(B)

bench-programs: # a peer that cannot be built is left out, and named by the bench
	-@$(MAKE) --no-print-directory -k $(bench_programs) 2>$(B)/bench-programs.log

$(B)/bench/bin/ceiling: scripts/bench/ceiling.c $(bench_common) $(wildcard scripts/bench/*.h)
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) -O2 -D_GNU_SOURCE -std=gnu11 -Wall -Wextra -o $@ $(filter %.c,$^) $(bench_libs_ceiling) -lm -lpthread

$(B)/bench/bin/%: scripts/bench/%.c scripts/bench/lines.c $(bench_common) $(B)/libtidemark.a $(wildcard scripts/bench/*.h)
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) -O2 -D_GNU_SOURCE -std=gnu11 -Wall -Wextra -o $@ $(filter %.c,$^) $(bench_libs_$*) -lm -lpthread

$(B)/bench/bench_parts.so: scripts/bench/parts.c $(B)/bindings/json.o $(addprefix $(B)/bindings/,document.o lua_json.o json_buffer.o json_merge.o) $(B)/libtidemark.a
	@mkdir -p $(@D)
	$(call Q,LD)$(CXX) -shared -O2 -fPIC -o $@ -x c $(LUA_CFLAGS) $< -x none $(filter %.o %.a,$^) $(LIBS)

bench-http: setup ## more of the server beside a server that does nothing, nginx with Lua, Node, Redis
	@$(MAKE) --no-print-directory -j2 all $(B)/constant_server
	@scripts/bench_http/setup $(B)
	@lua5.4 scripts/bench-http.lua --build $(B)

$(B)/constant_server: scripts/bench_http/constant_server.c $(llhttp_objects)
	$(call Q,LD)$(CC) $(CFLAGS_ALL) $(HTTP_CFLAGS) -o $@ $^ -luv -lpthread $(LDFLAGS)

fuzzers: $(addprefix $(B)/,request_fuzz json_fuzz log_fuzz)

$(B)/%_fuzz: $(B)/spec/fuzz/%_fuzz.o $(B)/bindings/http/request.o $(B)/bindings/http/chunked.o $(B)/bindings/json.o $(B)/bindings/json_buffer.o \
  $(B)/bindings/json_merge.o $(llhttp_objects) $(B)/libtidemark.a
	$(call Q,LD)$(CXX) -fsanitize=fuzzer,address -o $@ $^ $(LIBS) $(LDFLAGS)

$(B)/crashtest: $(wildcard spec/crash/*.[ch]) $(B)/libtidemark.a
	$(call Q,LD)$(CC) $(CFLAGS_ALL) -MF $@.d -o $@ $(filter %.c,$^) $(B)/libtidemark.a $(ENGINE_LIBS) $(LDFLAGS)

$(B)/spec/slow_disk.so: spec/support/slow_disk.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=gnu11 -D_GNU_SOURCE -O1 -fPIC -shared -o $@ $< -ldl

$(B)/libtidemark.a: $(engine_objects)
	$(call Q,AR)rm -f $@ && ar rcs $@ $^

$(B)/tidemark.so: $(module_objects) $(engine_objects)
	$(call Q,LD)$(CXX) -shared $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(OPTIMIZE) -o $@ $^ $(LIBS) $(LDFLAGS)

$(B)/tidemark: $(command_objects) $(llhttp_objects) $(B)/commands.o $(module_objects) $(engine_objects)
	$(call Q,LD)$(CXX) $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(OPTIMIZE) -rdynamic -o $@ $^ $(LUV_LIBS) $(LUA_LIBS) $(LIBS) -ldl $(LDFLAGS)

$(B)/commands.c: scripts/embed.lua $(command_chunks)
	@mkdir -p $(@D)
	$(call Q,LUA)$(LUA) scripts/embed.lua $@ $(command_chunks)

$(B)/commands.o: $(B)/commands.c
	$(call Q,CC)$(CC) $(CFLAGS_ALL) -Ibindings -c -o $@ $<

$(B)/env:
	@mkdir -p $(@D)
	@printf 'export LUA_PATH_5_4="%s/?.lua;;"\nexport LUA_CPATH_5_4="%s/?.so;;"\n' $(abspath $(B)) $(abspath $(B)) > $@.new
	@printf 'export LUA_PATH="$$LUA_PATH_5_4"\nexport LUA_CPATH="$$LUA_CPATH_5_4"\n' >> $@.new && mv $@.new $@

$(B)/llhttp/%.o: $(LLHTTP_SOURCES)/%.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) -std=gnu11 -w $(COMMON) $(HTTP_CFLAGS) -c -o $@ $<

$(B)/spec/fuzz/%.o $(addprefix $(B)/bindings/,main.o http/%.o server/%.o load/%.o): CFLAGS_ALL += $(HTTP_CFLAGS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(B)/%.o: %.cc
	@mkdir -p $(@D)
	$(call Q,CXX)$(CXX) $(CXXFLAGS_ALL) -c -o $@ $<

$(B)/spec/histogram_spec: $(B)/bindings/load/histogram.o

$(B)/spec/%: spec/bindings/%.c $(module_objects) $(B)/libtidemark.a
	@mkdir -p $(@D)
	$(call Q,LD)$(CC) $(CFLAGS_ALL) -o $@ $^ -lcmocka $(LUA_LIBS) $(LIBS) $(LDFLAGS)

$(addprefix $(B)/spec/,sync_ahead_spec thread_spec): LDFLAGS += -Wl,--wrap=pthread_create
$(addprefix $(B)/spec/,sync_ahead_spec thread_spec): $(B)/spec/engine/document.o

$(addprefix $(B)/spec/,compact_spec compact_readers_spec compact_faults_spec): $(B)/spec/engine/compact_log.o

$(B)/spec/%: spec/engine/%.c $(B)/spec/engine/directory.o $(B)/libtidemark.a
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) $(CFLAGS_ALL) -Iengine -o $@ $< $(filter %.o,$^) $(B)/libtidemark.a -lcmocka $(ENGINE_LIBS) $(LDFLAGS)

# The C library's functions that this one replaces, in the engine too.
$(B)/spec/no_memory_spec: spec/engine/no_memory_spec.c spec/crash/model.c $(B)/libtidemark.a
	@mkdir -p $(@D)
	$(call Q,CC)$(CC) $(CFLAGS_ALL) -MF $@.d -o $@ $(filter %.c,$^) $(B)/libtidemark.a -lcmocka $(ENGINE_LIBS) $(LDFLAGS) \
	  -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=strdup,--wrap=mmap,--wrap=pthread_create,--wrap=getrandom,--wrap=syscall

-include $(shell find $(B) -name '*.d' 2>/dev/null)
