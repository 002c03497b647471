-- lines.lua: what is measured, of whom, and what is asked of it. `contenders` are programs in build/bench/bin, or run by a
-- line's `command`; `keep`: the documents of one round are there in the next.
local STORES = { "tidemark", "lmdb", "rocksdb", "leveldb", "wiredtiger", "sqlite" }
local EMBEDDED = { "lmdb", "rocksdb", "leveldb", "wiredtiger", "sqlite" }
local TABLES = { "lfht", "ck" }
--- What is asked of the slow ones instead, in the lines that name it: a rate needs no longer for being less.
local FEWER_GETS = { lmdb = "queries=200000", rocksdb = "queries=200000", wiredtiger = "queries=200000" }
local SCRIPTED = { "parts", "cjson", "tidemark", "table", "luasql", "tarantool" }

--- Contenders that are another one's program with a line of their own.
local ALIASES = { loop = { program = "ceiling", lines = { get = "get-loop" } },
  chained = { program = "tidemark", lines = { ["durable-batch"] = "durable-batch-chained" } } }

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do table.move(list, 1, #list, #all + 1, all) end
  return all
end

local lines = { aliases = ALIASES }

--- Tarantool beside programs in C: another process, over a socket.
local function socket_command(contender)
  return contender == "tarantool" and "tarantool scripts/bench/tarantool_socket.lua" or nil
end

--- What runs a contender of the Lua lines.
local function script_command(contender)
  return (contender == "tarantool" and "tarantool" or "lua5.4") .. " scripts/bench/lua_lines.lua"
end

local function add(name, title, line, arguments, contenders, more)
  local entry = { name = name, title = title, line = line, arguments = arguments, contenders = contenders }
  for key, value in pairs(more or {}) do entry[key] = value end
  lines[#lines + 1] = entry
end

--- All lines; options: documents in the large lines and in the small ones, seconds of replacing.
function lines.all(options)
  local large, small = options.documents, options.small
  local function documents(n) return "documents=" .. n end
  local c = { "ceiling" }
  add("create/100k", "accepted create, 100,000, batches of 1000", "create", documents(small), join(c, { "sketch" }, STORES))
  add("create/large", "accepted create, large, batches of 1000", "create", documents(large), join(c, { "sketch" }, STORES,
    { "redis" }), { memory = true, instead = { sqlite = documents(large // 5) } })
  add("create/large/2", "the same, two threads", "create", documents(large) .. " threads=2",
    { "tidemark", "rocksdb", "wiredtiger" })
  add("create-one", "accepted create, one at a time", "create", documents(large // 5) .. " batch=1", STORES,
    { instead = { sqlite = documents(large // 25), lmdb = documents(large // 10), rocksdb = documents(large // 10) } })
  add("create-one/100k", "accepted create, one at a time, 100,000", "create", documents(small) .. " batch=1", { "tidemark" })
  add("put-one", "accepted replacement, one at a time", "put", documents(small) .. " queries=500000", { "tidemark" })
  add("durable-batch", "durable, batches of 1000", "durable-batch", documents(small), join(c, { "sketch" }, STORES,
    { "chained" }), { instead = { sqlite = documents(small // 5) } })
  add("durable-stream", "durable, batches of 1000, the next fills while one is synced", "durable-batch",
    documents(large) .. " batch=" .. large, { "ceiling", "sketch", "tidemark" })
  for _, threads in ipairs { 1, 16, 64 } do
    add("durable-one/" .. threads, ("durable, one document a wait, %d waiting"):format(threads), "durable-one",
      "threads=" .. threads, join(c, STORES), { latency = true })
  end
  local readers = join(c, { "loop", "sketch", "tidemark" }, TABLES, { "lmdb", "rocksdb", "wiredtiger" })
  for _, distribution in ipairs { "uniform", "zipf" } do
    add("get/100k/" .. distribution, "get, copied, 100,000, " .. distribution, "get",
      documents(small) .. " distribution=" .. distribution, readers, { keep = "100k", instead = FEWER_GETS })
    add("get/large/" .. distribution, "get, copied, large, " .. distribution, "get",
      documents(large) .. " distribution=" .. distribution, readers, { keep = "large", instead = FEWER_GETS })
  end
  add("get/large/2", "get, copied, large, two threads", "get", documents(large) .. " threads=2",
    join(c, { "loop", "tidemark" }, TABLES, { "lmdb" }), { keep = "large", instead = FEWER_GETS })
  add("get-many/copied", "get_many(16), copied, large", "get-many", documents(large),
    join(c, { "sketch", "tidemark", "rocksdb" }), { keep = "large", instead = FEWER_GETS })
  add("get-many/viewed", "get_many(16), viewed, large", "get-many", documents(large) .. " copied=0",
    join(c, { "sketch", "tidemark" }), { keep = "large" })
  add("get-many/100k/2", "get_many(16), viewed, 100,000, two threads", "get-many",
    documents(small) .. " copied=0 threads=2 queries=" .. 80 * small, join(c, { "tidemark" }), { keep = "100k" })
  add("get/other-process", "get over a unix socket, 100,000", "get", documents(small) .. " queries=20000",
    { "tidemark", "redis", "tarantool" }, { command = socket_command })
  add("get-many/other-process", "get_many(16) over a unix socket, 100,000", "get-many", documents(small) .. " queries=100000",
    { "tidemark", "redis" })
  for _, what in ipairs { { "documents that are read", 0 }, { "other documents", 1 } } do
    add("beside/" .. what[2], "two readers beside a writer of " .. what[1] .. ", large", "beside",
      documents(large) .. " seconds=2 elsewhere=" .. what[2], { "tidemark" })
  end
  for _, mix in ipairs { "A", "B", "C", "D", "F" } do
    add("mixed/" .. mix, "YCSB " .. mix .. ", 100,000, zipf", "mixed", documents(small) .. " queries=100000 mix=" .. mix,
      { "tidemark", "lmdb", "rocksdb", "wiredtiger" })
  end
  for _, what in ipairs { "create_table", "create_text", "get", "get_json", "get_many", "update" } do
    local alone = what:find "create" or what == "get"
    local taking = {}
    for _, contender in ipairs(SCRIPTED) do
      if alone or contender ~= "parts" and contender ~= "cjson" then
        if what ~= "get_many" or contender == "tidemark" or contender == "table" then taking[#taking + 1] = contender end
      end
    end
    add("lua/" .. what, "Lua: " .. what:gsub("_", " "), "lua_" .. what, documents(small), taking,
      { command = script_command, instead = { luasql = documents(small // 4), tarantool = documents(small // 2) } })
  end
  add("update", "replacing by zipf for a while, 100,000", "update", documents(small) .. " seconds=" .. options.update_seconds,
    { "tidemark" }, { once = true, series = true })
  add("series", ("%d events one after the other"):format(10 * large), "series", documents(large), { "tidemark" },
    { once = true, series = true })
  add("recovery", "opening to the first get, large", "recovery", documents(large),
    { "ceiling", "tidemark", "lmdb", "redis", "tarantool" },
    { command = socket_command, instead = { lmdb = documents(small), redis = documents(large // 2) } }) -- LMDB maps its file
  add("recovery-snapshot", ("opening with a snapshot, large, behind a log of %d events"):format(11 * large),
    "recovery-snapshot", documents(large) .. " queries=" .. 10 * large, { "tidemark" }, { once = true })
  add("compaction", "compaction: 50,000 events of which 40,000 are obsolete", "compaction", documents(10000), { "tidemark" })
  add("history", ("history of one document: 100 events among %d"):format(large), "history", documents(large), { "tidemark" })
  add("latency", "create at half of its greatest rate (the ceiling: of tidemark's), open loop", "latency", "seconds=2",
    join(c, STORES), { latency = true, half_rate_of = { "create-one", "create/large" }, rate_as = { ceiling = "tidemark" } })
  add("latency-snapshots", "the same, one snapshot after the other meanwhile", "latency-snapshots", "seconds=2", { "tidemark" },
    { latency = true, half_rate_of = { "create-one", "create/large" } })
  return lines
end

--- What the project asks of itself; each entry: text, value or nil, bound, lower. `figure` gives the median of a line's, a
--- contender's, a field's figures, `in_rounds` the median of what a function makes of each round's, `ratio_of` that of a ratio.
function lines.goals(figure, in_rounds, ratio_of)
  local function ratio(line, other, other_line) return ratio_of(line, "tidemark", other, other_line) end
  local function of(line, field, scale)
    local value = figure(line, "tidemark", field)
    return value and value * (scale or 1)
  end
  --- Our rate in a Lua line, beside the time of the binding's part and the time of the C call, one after the other.
  local function of_parts(lua_line, c_line)
    return in_rounds(function(of_round)
      local ours, parts = of_round(lua_line, "tidemark", "rate"), of_round(lua_line, "parts", "rate")
      local c = of_round(c_line, "tidemark", "rate")
      return ours and parts and c and ours * (1 / parts + 1 / c)
    end)
  end
  local of_best_create = in_rounds(function(of_round)
    local ours, best = of_round("create/large", "tidemark", "rate"), 0
    for _, contender in ipairs(EMBEDDED) do
      best = math.max(best, of_round("create/large", contender, "rate") or 0)
    end
    return ours and best > 0 and ours / best
  end)
  local update_start, update_end = of("update", "memory_start"), of("update", "memory_end")
  local update_rates = figure("update", "tidemark", "rates")
  local kept
  if update_rates and #update_rates >= 10 then
    local fifth, first, last = #update_rates // 5, 0, 0
    for i = 1, fifth do
      first = first + update_rates[i]
      last = last + update_rates[#update_rates - fifth + i]
    end
    kept = last / first
  end
  return {
    { "accepted create / best embedded peer", of_best_create, 3, true },
    { "accepted create / the sketch of writes", ratio("create/large", "sketch"), 0.8, true },
    { "create at half rate, p99.9, ms", of("latency", "p99_9_us", 1e-3), 1 },
    { "create at half rate, longest, ms", of("latency", "max_us", 1e-3), 20 },
    { "durable batches, one filling while one is synced / ceiling", ratio("durable-stream", "ceiling"), 0.9, true },
    { "durable batches, each waited for / ceiling", ratio("durable-batch", "ceiling"), 0.9, true },
    { "hash chain: durable batches with / without", ratio_of("durable-batch", "chained", "tidemark"), 0.75, true },
    { "single durable / ceiling", ratio("durable-one/1", "ceiling"), 0.9, true },
    { "64 waiters / one", ratio("durable-one/64", "tidemark", "durable-one/1"), 20, true },
    { "get / ck_ht", ratio("get/large/uniform", "ck"), 2, true },
    { "get / lfht", ratio("get/large/uniform", "lfht"), 2, true },
    { "get / LMDB", ratio("get/large/uniform", "lmdb"), 3, true },
    { "get / ceiling (two misses, one after the other, and the copy)", ratio("get/large/uniform", "ceiling"), 0.8, true },
    { "get / the sketch of reads", ratio("get/large/uniform", "sketch"), 0.8, true },
    { "get_many copied / the sketch of reads", ratio("get-many/copied", "sketch"), 0.8, true },
    { "get_many viewed / the sketch of reads", ratio("get-many/viewed", "sketch"), 0.8, true },
    { "get_many viewed / get", ratio("get-many/viewed", "tidemark", "get/large/uniform"), 3, true },
    { "get_many copied / get", ratio("get-many/copied", "tidemark", "get/large/uniform"), 3, true },
    { "get_many viewed, 100,000, two threads, million/s", of("get-many/100k/2", "rate", 1e-6), 40, true },
    { "two readers beside a writer / beside a writer of other documents", ratio("beside/0", "tidemark", "beside/1"), 0.85, true },
    { "Lua create from a table / sum of its parts", of_parts("lua/create_table", "create-one/100k"), 0.9, true },
    { "Lua create from text / sum of its parts", of_parts("lua/create_text", "create-one/100k"), 0.9, true },
    { "Lua get / sum of its parts", of_parts("lua/get", "get/100k/uniform"), 0.9, true },
    { "Lua get of a table / lua-cjson's decode alone", ratio("lua/get", "cjson"), 1, true },
    { "recovery, million events/s", of("recovery", "rate", 1e-6), 3, true },
    { "recovery with a snapshot, s", of("recovery-snapshot", "seconds"), 0.5 },
    { "recovery from the log / with a snapshot", of("recovery-snapshot", "seconds_from_log")
      and of("recovery-snapshot", "seconds_from_log") / of("recovery-snapshot", "seconds"), 10, true },
    { "create's p99 during snapshots / without", ratio_of("latency-snapshots", "tidemark", "tidemark", "latency", "p99_us"), 2 },
    { "compaction of 50,000 events, 40,000 obsolete, s", of("compaction", "compaction_s"), 5 },
    { "log after that compaction / before", of("compaction", "bytes_left"), 0.5 },
    { "history of 100 events among a million, ms", of("history", "history_ms"), 5 },
    { "memory a document beyond id and JSON, bytes",
      of("create/large", "memory_bytes_per_document") and of("create/large", "memory_bytes_per_document") - 36 - 256, 64 },
    { "log / (id + JSON)", of("create/large", "disk_bytes_per_byte"), 1.25 },
    { "memory after updates / before", update_start and update_end / update_start, 1.3 },
    { "rate of updates, last fifth / first fifth", kept, 0.9, true },
  }
end

return lines
