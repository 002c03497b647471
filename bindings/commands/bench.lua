local bench = {
  usage = [[
usage: tidemark bench [--documents 100000] [--rounds 5] [--directory .] [--only PATTERN] [--json]

What this machine and its disk give a Lua script: articles of 256 bytes, ids in random order, one thread. Each round makes a
database of its own below --directory and removes it; a line is the median of all rounds, with the slowest and the fastest.
What was read and counted is checked. --only, a Lua pattern: only lines with such a name are printed.

The durable lines and the log are those of the disk that --directory is on. Beside other engines: `make bench` in the
sources.

Exit status: 0 fine, 3 a result was wrong, or it could not be done.

examples:
  tidemark bench
  tidemark bench --directory /srv/data --only durable
  tidemark bench --documents 1000000 --rounds 3 --json
]],
}

local GROUP, DURABLE = 16, 500

--- Ids that look like UUIDv7, and articles of 256 bytes as tables and as texts.
local function articles(count)
  local all = { ids = {}, tables = {}, texts = {} }
  for i = 1, count do
    local id = ("%08x-%04x-7%03x-8%03x-%012x"):format(math.random(0, 0xffffffff), math.random(0, 0xffff),
      math.random(0, 0xfff), math.random(0, 0xfff), i)
    local format = '{"id":"%s","number":%d,"title":"Article","body":"%s"}'
    local body = ("x"):rep(256 - #format:format(id, i, ""))
    all.ids[i], all.texts[i] = id, format:format(id, i, body)
    all.tables[i] = { id = id, number = i, title = "Article", body = body }
  end
  return all
end

local function check(condition, common, message, ...)
  if not condition then common.fail(3, "wrong: " .. message, ...) end
end

--- One round: calls measure(name, operations, function) for each line, in this order.
local function round(common, path, all, measure)
  local count = #all.ids
  local order = {}
  for i = 1, count do order[i] = math.random(count) end
  local function open(directory) return common.open(path .. "/" .. directory, { sync = "none" }) end
  local function create(name, documents)
    local db <close> = open(name)
    local c = db:collection "articles"
    measure(name, count, function()
      for i = 1, count do assert(c:create(documents[i])) end
      assert(db:wait(db:watermarks().accepted, "written"))
    end)
    check(#c == count, common, "%d documents of %d", #c, count)
  end
  create("create table", all.tables)
  create("create text", all.texts)
  do
    local db <close> = open "create text"
    local c = db:collection "articles"
    local sum, wanted, bytes, found = 0, 0, 0, 0
    for i = 1, count do wanted = wanted + order[i] end
    measure("get", count, function() for i = 1, count do sum = sum + c:get(all.ids[order[i]]).number end end)
    check(sum == wanted, common, "get gave other documents than were written")
    measure("get json", count, function() for i = 1, count do bytes = bytes + #c:get_json(all.ids[order[i]]) end end)
    check(bytes == 256 * count, common, "get_json gave %d bytes of %d", bytes, 256 * count)
    local groups = {}
    for i = 1, count - GROUP + 1, GROUP do
      local group = {}
      for k = 1, GROUP do group[k] = all.ids[order[i + k - 1]] end
      groups[#groups + 1] = group
    end
    measure("get many", #groups * GROUP, function()
      for _, group in ipairs(groups) do
        for _, document in ipairs(c:get_many(group)) do found = found + (document and 1 or 0) end
      end
    end)
    check(found == #groups * GROUP, common, "get_many found %d of %d", found, #groups * GROUP)
    measure("update", count, function()
      for i = 1, count do assert(c:update(all.ids[order[i]], { title = "changed" })) end
      assert(db:wait(db:watermarks().accepted, "written"))
    end)
    check(c:get(all.ids[order[count]]).title == "changed", common, "an update is missing")
  end
  measure("open", 2 * count, function() open("create text"):close() end)
  do
    local db <close> = common.open(path .. "/durable", {})
    local c = db:collection "articles"
    local many = math.min(DURABLE, count)
    measure("durable, each waited for", many, function()
      for i = 1, many do assert(c:create(all.texts[i], { durability = "durable" })) end
    end)
    check(db:watermarks().durable == many, common, "%d durable of %d", db:watermarks().durable, many)
    measure("durable, together", count - many, function()
      for i = many + 1, count do assert(c:create(all.texts[i])) end
      assert(db:flush())
    end)
    check(#c == count, common, "%d documents of %d", #c, count)
  end
end

local NAMES = { "create table", "create text", "get", "get json", "get many", "update", "open", "durable, each waited for",
  "durable, together" }

local function json_line(name, each)
  return ('{"name":"%s","median_per_second":%.0f,"low_per_second":%.0f,"high_per_second":%.0f,"median_us":%.3f}'):format(name,
    each.median, each.low, each.high, 1e6 / each.median)
end

function bench.main(common, arguments)
  local options = common.parse(arguments, { documents = "number", rounds = "number", directory = "string", only = "string",
    json = "flag" }, 0, bench.usage)
  local documents, rounds = options.documents or 100000, options.rounds or 5
  if documents < 2 * GROUP then common.fail(2, "--documents: at least %d\n%s", 2 * GROUP, bench.usage) end
  if rounds < 1 then common.fail(2, "--rounds: at least 1\n%s", bench.usage) end
  if options.only and not pcall(string.find, "", options.only) then common.fail(2, "--only: not a pattern\n%s", bench.usage) end
  local directory = options.directory or "."
  if directory:find "'" then common.fail(2, "--directory: a path without quotes, please") end
  local path = ("%s/tidemark-bench-%d-%d"):format(directory, os.time(), math.random(0, 0xffff))
  local now = require "tidemark.tools".monotonic
  local update, finish = common.progress "bench"
  local all, rates = articles(documents), {}
  local done = 0
  local function measure(name, operations, run)
    collectgarbage()
    local start = now()
    run()
    local seconds = now() - start
    rates[name] = rates[name] or {}
    table.insert(rates[name], operations / math.max(seconds, 1e-9))
    done = done + 1
    update(done, rounds * #NAMES)
  end
  local ok, message = xpcall(function()
    for _ = 1, rounds do
      round(common, path, all, measure)
      os.execute(("rm -rf '%s'"):format(path))
    end
  end, function(err) return type(err) == "table" and err or debug.traceback(tostring(err), 2) end)
  finish()
  os.execute(("rm -rf '%s'"):format(path))
  if not ok then error(message, 0) end
  local lines = {}
  for _, name in ipairs(NAMES) do
    if name:find(options.only or "") then
      local sorted = rates[name]
      table.sort(sorted)
      local each = { median = sorted[(#sorted + 1) // 2], low = sorted[1], high = sorted[#sorted] }
      lines[#lines + 1] = options.json and json_line(name, each)
        or ("%-26s %12.0f %12.0f %12.0f %10.3f"):format(name, each.median, each.low, each.high, 1e6 / each.median)
    end
  end
  if #lines == 0 then common.fail(2, "--only %s: no line has such a name: %s", options.only, table.concat(NAMES, "; ")) end
  if options.json then
    common.write(('{"documents":%d,"rounds":%d,"lines":[%s]}\n'):format(documents, rounds, table.concat(lines, ",")))
  else
    common.write(("%d articles of 256 bytes, %d rounds; operations a second\n"):format(documents, rounds),
      ("%-26s %12s %12s %12s %10s\n"):format("", "median", "slowest", "fastest", "us each"), table.concat(lines, "\n"), "\n")
  end
  return 0
end

return bench
