-- lines.lua: what is measured, of whom, and what is asked of it. `contenders` are programs in build/bench/bin; `keep`: the
-- documents of one round are there in the next.
local STORES = { "tidemark", "lmdb", "rocksdb", "leveldb", "wiredtiger", "sqlite" }
local EMBEDDED = { "lmdb", "rocksdb", "leveldb", "wiredtiger", "sqlite" }
local TABLES = { "lfht", "ck" }

local function join(...)
  local all = {}
  for _, list in ipairs { ... } do table.move(list, 1, #list, #all + 1, all) end
  return all
end

local lines = { embedded = EMBEDDED }

local function add(name, title, line, arguments, contenders, more)
  local entry = { name = name, title = title, line = line, arguments = arguments, contenders = contenders }
  for key, value in pairs(more or {}) do entry[key] = value end
  lines[#lines + 1] = entry
end

--- All lines, for this many documents in the large ones.
function lines.all(options)
  local large = options.documents
  local function documents(n) return "documents=" .. n end
  local c = { "ceiling" }
  add("create/100k", "accepted create, 100,000, batches of 1000", "create", documents(100000), join(c, STORES))
  add("create/large", "accepted create, large, batches of 1000", "create", documents(large), join(c, STORES))
  add("create/large/2", "the same, two threads", "create", documents(large) .. " threads=2",
    { "tidemark", "rocksdb", "wiredtiger" })
  add("create-one", "accepted create, one at a time", "create", documents(100000) .. " batch=1", STORES)
  add("durable-batch", "durable, batches of 1000", "durable-batch", documents(100000), join(c, STORES))
  add("durable-stream", "durable, batches of 1000, the next fills while one is synced", "durable-batch",
    documents(options.documents) .. " batch=" .. options.documents, { "ceiling", "tidemark" })
  for _, threads in ipairs { 1, 16, 64 } do
    add("durable-one/" .. threads, ("durable, one document a wait, %d waiting"):format(threads), "durable-one",
      "threads=" .. threads, join(c, STORES), { latency = true })
  end
  for _, distribution in ipairs { "uniform", "zipf" } do
    add("get/100k/" .. distribution, "get, copied, 100,000, " .. distribution, "get",
      documents(100000) .. " distribution=" .. distribution, join(c, { "tidemark" }, TABLES, { "lmdb", "rocksdb", "wiredtiger" }),
      { keep = "100k" })
    add("get/large/" .. distribution, "get, copied, large, " .. distribution, "get",
      documents(large) .. " distribution=" .. distribution, join(c, { "tidemark" }, TABLES, { "lmdb", "rocksdb", "wiredtiger" }),
      { keep = "large" })
  end
  add("get/large/2", "get, copied, large, two threads", "get", documents(large) .. " threads=2",
    join(c, { "tidemark" }, TABLES, { "lmdb" }), { keep = "large" })
  add("get-many/copied", "get_many(16), copied, large", "get-many", documents(large), join(c, { "tidemark", "rocksdb" }),
    { keep = "large" })
  add("get-many/viewed", "get_many(16), viewed, large", "get-many", documents(large) .. " copied=0", join(c, { "tidemark" }),
    { keep = "large" })
  add("get-many/100k/2", "get_many(16), viewed, 100,000, two threads", "get-many",
    documents(100000) .. " copied=0 threads=2 queries=8000000", join(c, { "tidemark" }), { keep = "100k" })
  for _, mix in ipairs { "A", "B", "C", "D", "F" } do
    add("mixed/" .. mix, "YCSB " .. mix .. ", 100,000, zipf", "mixed", documents(100000) .. " queries=300000 mix=" .. mix,
      { "tidemark", "lmdb", "rocksdb", "wiredtiger" })
  end
  add("update", "replacing by zipf for a while, 100,000", "update", documents(100000) .. " seconds=" .. options.update_seconds,
    { "tidemark" }, { once = true, series = true })
  add("recovery", "opening to the first get, large", "recovery", documents(large), { "ceiling", "tidemark", "lmdb" })
  add("latency", "create at half of its greatest rate, open loop", "latency", "seconds=2", STORES,
    { latency = true, half_rate_of = "create-one" })
  return lines
end

--- What the project asks of itself; each entry: text, function of the results that gives the value or nil, bound, lower.
function lines.goals(figure, best)
  local function ratio(line, other, other_line)
    local ours, theirs = figure(line, "tidemark", "rate"), figure(other_line or line, other, "rate")
    return ours and theirs and ours / theirs
  end
  local function of(line, field, scale)
    local value = figure(line, "tidemark", field)
    return value and value * (scale or 1)
  end
  local best_create, ours_create = best("create/large"), figure("create/large", "tidemark", "rate")
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
    { "accepted create / best embedded peer", ours_create and best_create and ours_create / best_create, 3, true },
    { "accepted create / ceiling (copy and write alone)", ratio("create/large", "ceiling"), 0.8, true },
    { "create at half rate, p99.9, ms", of("latency", "p99_9_us", 1e-3), 1 },
    { "create at half rate, longest, ms", of("latency", "max_us", 1e-3), 20 },
    { "durable batches, one filling while one is synced / ceiling", ratio("durable-stream", "ceiling"), 0.9, true },
    { "durable batches, each waited for / ceiling", ratio("durable-batch", "ceiling"), 0.9, true },
    { "single durable / ceiling", ratio("durable-one/1", "ceiling"), 0.9, true },
    { "64 waiters / one", ratio("durable-one/64", "tidemark", "durable-one/1"), 20, true },
    { "get / ck_ht", ratio("get/large/uniform", "ck"), 2, true },
    { "get / lfht", ratio("get/large/uniform", "lfht"), 2, true },
    { "get / LMDB", ratio("get/large/uniform", "lmdb"), 3, true },
    { "get / ceiling", ratio("get/large/uniform", "ceiling"), 0.8, true },
    { "get_many viewed / get", ratio("get-many/viewed", "tidemark", "get/large/uniform"), 3, true },
    { "get_many copied / get", ratio("get-many/copied", "tidemark", "get/large/uniform"), 3, true },
    { "get_many viewed, 100,000, two threads, million/s", of("get-many/100k/2", "rate", 1e-6), 40, true },
    { "recovery, million events/s", of("recovery", "rate", 1e-6), 3, true },
    { "memory a document beyond id and JSON, bytes",
      of("create/large", "memory_bytes_per_document") and of("create/large", "memory_bytes_per_document") - 36 - 256, 64 },
    { "log / (id + JSON)", of("create/large", "disk_bytes_per_byte"), 1.25 },
    { "memory after updates / before", update_start and update_end / update_start, 1.3 },
    { "rate of updates, last fifth / first fifth", kept, 0.9, true },
  }
end

return lines
