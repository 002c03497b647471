-- soak.lua: a long mixed load, and whether anything grows that should not. Threads of Lua write, read, walk and delete among
-- documents whose number has a bound, at a bounded rate; one more thread samples memory, descriptors and disk each second, and
-- makes snapshots, compactions and backups in turns, beside what retention compacts by itself. At the end the last third is
-- compared with the middle one, and the database is opened again and verified.
local usage = [[
usage: lua5.4 scripts/soak.lua [--build build] [--seconds 900] [--threads 2] [--rate 2000] [--documents 20000]

--rate: operations a second of each thread; --documents: at most so many are there, of each thread. Writes BUILD/soak/report.json
and report.html. Exit status 1: something grew without bound, a call failed, or the log was not whole.

example:
  make soak MINUTES=60
]]

local options = { build = "build", seconds = 900, threads = 2, rate = 2000, documents = 20000 }
for i = 1, #arg, 2 do
  local name = arg[i]:match "^%-%-(%l+)$"
  if options[name] == nil or not arg[i + 1] then
    io.stderr:write(usage)
    os.exit(name == "help" and 0 or 2)
  end
  local value = type(options[name]) == "number" and math.tointeger(tonumber(arg[i + 1])) or arg[i + 1]
  if type(options[name]) ~= type(value) or value == 0 then
    io.stderr:write(usage)
    os.exit(2)
  end
  options[name] = value
end

package.path = "scripts/?.lua;scripts/bench/?.lua;" .. package.path
package.cpath = options.build .. "/?.so;" .. package.cpath
local cjson = require "cjson"
local tidemark = require "tidemark"
local page = require "page"
local directory = options.build .. "/soak"
local database = directory .. "/db"

--- Run in each thread: the first samples and maintains, the others are the load.
local function thread_main(index, settings)
  local uv = require "luv"
  local tidemark = require "tidemark" -- luacheck: ignore
  local db <close> = assert(tidemark.open(settings.database))
  local started = uv.hrtime()
  local function elapsed() return (uv.hrtime() - started) / 1e9 end

  local function sample()
    local file = assert(io.open "/proc/self/statm")
    local pages = file:read "n" and file:read "n"
    file:close()
    local descriptors, disk_bytes = -1, 0 -- the one that looks is not counted
    for _ in uv.fs_scandir_next, assert(uv.fs_scandir "/proc/self/fd") do descriptors = descriptors + 1 end
    for name in uv.fs_scandir_next, assert(uv.fs_scandir(settings.database)) do
      local status = uv.fs_stat(settings.database .. "/" .. name)
      disk_bytes = disk_bytes + (status and status.blocks * 512 or 0)
    end
    local stats = db:stats()
    return { second = math.floor(elapsed()), memory_bytes = pages * 4096, descriptors = descriptors, disk_bytes = disk_bytes,
      log_bytes = stats.log_bytes, documents = stats.documents, pending_bytes = stats.pending_bytes }
  end

  --- The long-running calls, in turns; each gives something or nil, message.
  local function maintenance()
    local calls, count = {
      { "snapshot", function() return db:snapshot() end },
      { "compact", function() return db:compact() end },
      { "backup", function() return db:backup(settings.directory .. "/backup") end }, -- brings it up to date
    }, 0
    return function(done)
      local call = calls[count % #calls + 1]
      count = count + 1
      local before = uv.hrtime()
      local ok, message = call[2]()
      done[#done + 1] = { name = call[1], ms = (uv.hrtime() - before) / 1e6, message = not ok and tostring(message) or nil }
    end
  end

  if index == 1 then
    local samples, done, maintain = {}, {}, maintenance()
    while elapsed() < settings.seconds do
      uv.sleep(math.max(1, math.floor((#samples + 1 - elapsed()) * 1000)))
      samples[#samples + 1] = sample()
      if #samples % settings.maintenance_seconds == 0 then maintain(done) end
    end
    return { samples = samples, maintenance = done }
  end

  math.randomseed(index)
  local c, seconds, latencies, writes = db:collection("soak-" .. index), {}, {}, 0
  local function id() return ("document-%06d"):format(math.random(settings.documents)) end
  local function second_over(second)
    table.sort(latencies)
    seconds[#seconds + 1] = { second = second, writes = #latencies, p99_us = latencies[math.ceil(#latencies * 0.99)] or 0 }
    latencies = {}
  end
  local function write(call, ...)
    local before = uv.hrtime()
    local result, message, code = call(c, ...)
    latencies[#latencies + 1] = (uv.hrtime() - before) / 1000
    writes = writes + 1
    if not result and code ~= "not_found" then error(message) end
  end
  local second, operations = 0, 0
  while elapsed() < settings.seconds do
    local dice = math.random(1000)
    if dice <= 500 then
      write(c.put, { id = id(), title = "Hello", pad = ("p"):rep(math.random(1000)), n = operations })
    elseif dice <= 600 then
      write(c.update, id(), { n = operations })
    elseif dice <= 700 then
      write(c.delete, id())
    elseif dice <= 705 then
      write(c.put, { id = id(), n = operations }, { durability = "durable" })
    elseif dice <= 990 then
      local document = c:get(id())
      assert(not document or document.n)
    elseif dice <= 999 then
      c:get_many { id(), id(), id() }
    else
      for event in db:events { collection = c.name, id = id() } do assert(event.seq) end
    end
    operations = operations + 1
    local now = elapsed()
    if now // 1 > second then
      second_over(second)
      second = now // 1
    end
    local ahead = operations / settings.rate - now
    if ahead > 0.005 then uv.sleep(math.floor(ahead * 1000)) end
  end
  return { seconds = seconds, operations = operations, writes = writes }
end

--- The mean of a field over samples from..to (0 to 1 of all).
local function mean(samples, field, from, to)
  local first, last, sum = math.floor(#samples * from) + 1, math.floor(#samples * to), 0
  for i = first, last do sum = sum + (samples[i][field] or 0) end
  return sum / math.max(last - first + 1, 1)
end

--- What may not grow from the middle third to the last one: by a tenth and some slack. A time is only told: it is the
--- machine's as well.
local function judged(samples)
  local verdicts = {}
  local function judge(name, field, slack, unit, scale, is_time)
    local middle, last = mean(samples, field, 1 / 3, 2 / 3), mean(samples, field, 2 / 3, 1)
    verdicts[#verdicts + 1] = { name = name, middle = middle / scale, last = last / scale, unit = unit,
      bounded = last <= middle * 1.1 + slack, is_time = is_time }
  end
  judge("memory", "memory_bytes", 8 << 20, "MiB", 1 << 20)
  judge("descriptors", "descriptors", 4, "", 1)
  judge("disk", "disk_bytes", 64 << 20, "MiB", 1 << 20)
  judge("p99 of writes", "p99_us", 100, "us", 1, true)
  return verdicts
end

local function write_file(name, text)
  local file = assert(io.open(directory .. "/" .. name, "w"))
  assert(file:write(text))
  assert(file:close())
  print(directory .. "/" .. name)
end

local function html(report)
  local out = { '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    "<title>Tidemark, soak</title><style>", page.style, "</style><main><h1>Tidemark under a long load</h1>",
    ("<p>%d s, %d threads of %d operations/s at most, %d operations, %d writes; %s UTC.</p>"):format(report.seconds,
      report.threads, report.rate, report.operations, report.writes, page.escape(report.date)),
    "<section><h2>What may not grow</h2><table><tr><th>what</th><th>middle third</th><th>last third</th><th></th></tr>" }
  for _, verdict in ipairs(report.verdicts) do
    out[#out + 1] = ('<tr><td>%s</td><td>%.1f %s</td><td>%.1f %s</td><td class="%s">%s</td></tr>'):format(verdict.name,
      verdict.middle, verdict.unit, verdict.last, verdict.unit, verdict.bounded and "met" or "missed",
      verdict.bounded and "bounded" or "grows")
  end
  out[#out + 1] = "</table></section>"
  local plots = { { "memory_bytes", "memory", " MiB", 1 << 20 }, { "descriptors", "descriptors", "", 1 },
    { "disk_bytes", "disk", " MiB", 1 << 20 }, { "log_bytes", "log", " MiB", 1 << 20 },
    { "documents", "documents", "", 1 }, { "p99_us", "p99 of writes", " us", 1 }, { "writes", "writes", "/s", 1 } }
  for _, plot in ipairs(plots) do
    local values = {}
    for i, sample in ipairs(report.samples) do values[i] = (sample[plot[1]] or 0) / plot[4] end
    out[#out + 1] = ("<section><h2>%s</h2>%s</section>"):format(plot[2],
      page.series(values, plot[2] .. " over time", plot[3], #values))
  end
  out[#out + 1] = "</main></html>\n"
  return table.concat(out, "\n")
end

os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(directory, directory))
local settings = { database = database, directory = directory, seconds = options.seconds, rate = options.rate,
  documents = options.documents, maintenance_seconds = math.max(2, options.seconds // 90) }
local db = assert(tidemark.open(database, { segment_bytes = 16 << 20, retain = { events_per_document = 3 } }))
local report = { seconds = options.seconds, threads = options.threads, rate = options.rate, date = os.date "!%Y-%m-%d %H:%M",
  operations = 0, writes = 0, failures = {} }
local results = assert(tidemark.threads(options.threads + 1, thread_main, settings))
report.samples, report.maintenance = results[1][1].samples, results[1][1].maintenance
for i = 2, options.threads + 1 do
  local result = results[i][1]
  report.operations, report.writes = report.operations + result.operations, report.writes + result.writes
  for k, second in ipairs(result.seconds) do
    local sample = report.samples[k]
    if sample then
      sample.p99_us = math.max(sample.p99_us or 0, second.p99_us)
      sample.writes = (sample.writes or 0) + second.writes
    end
  end
end
for _, call in ipairs(report.maintenance) do
  if call.message then table.insert(report.failures, call.name .. ": " .. call.message) end
end

local documents, closed, message = db:stats().documents, db:close()
if not closed then table.insert(report.failures, "closing: " .. message) end
db = assert(tidemark.open(database))
if db:stats().documents ~= documents then
  table.insert(report.failures, ("%d documents after opening again, %d before"):format(db:stats().documents, documents))
end
assert(db:close())
if not os.execute(("'%s/tidemark' verify '%s' >/dev/null"):format(options.build, database)) then
  table.insert(report.failures, "verify found damage")
end
report.verdicts = judged(report.samples)

print(("%8s %12s %12s %12s %12s %12s %12s"):format("second", "memory MiB", "descriptors", "disk MiB", "documents", "writes/s",
  "p99 us"))
local step = math.max(1, #report.samples // 20)
for i = step, #report.samples, step do
  local sample = report.samples[i]
  print(("%8d %12.1f %12d %12.1f %12d %12d %12.0f"):format(sample.second, sample.memory_bytes / (1 << 20), sample.descriptors,
    sample.disk_bytes / (1 << 20), sample.documents, sample.writes or 0, sample.p99_us or 0))
end
local bad = #report.failures
for _, failure in ipairs(report.failures) do print("FAILED: " .. failure) end
for _, verdict in ipairs(report.verdicts) do
  print(("%-20s middle third %10.1f, last third %10.1f %-4s %s"):format(verdict.name, verdict.middle, verdict.last, verdict.unit,
    verdict.bounded and "bounded" or "GROWS"))
  bad = bad + ((verdict.bounded or verdict.is_time) and 0 or 1)
end
write_file("report.json", cjson.encode(report) .. "\n")
write_file("report.html", html(report))
os.execute(("rm -rf '%s' '%s/backup'"):format(database, directory))
os.exit(bad == 0 and 0 or 1, true)
