-- bench-http.lua: the server beside a server that does nothing, and beside what people would take instead. Contenders take
-- turns within each line, so that what the machine does meanwhile hits all of them; what each has stored is counted.
local usage = [[
usage: lua5.4 scripts/bench-http.lua [--build DIR] [--rounds 5] [--seconds 0.8] [--only PATTERN] [--json FILE]

A line is an operation with a number of connections and a depth of pipelining: post/64/1. --only takes a Lua pattern.
Exit status 1: a contender's result was wrong. Goals that are missed are printed as missed.

examples:
  make bench-http
  lua5.4 scripts/bench-http.lua --only '^post/64/1$' --rounds 3
  lua5.4 scripts/bench-http.lua --only memory
]]

local function parse(arguments)
  local options = { build = "build", rounds = 5, seconds = 0.8, only = "" }
  local i = 1
  while arguments[i] do
    local name = arguments[i]:match "^%-%-(%a+)$"
    if name == "help" then
      io.write(usage)
      os.exit(0)
    end
    if not (name == "json" or options[name]) or not arguments[i + 1] then
      io.stderr:write(usage)
      os.exit(2)
    end
    options[name] = type(options[name]) == "number" and tonumber(arguments[i + 1]) or arguments[i + 1]
    i = i + 2
  end
  return options
end

local options = parse(arg)
package.path = "scripts/?.lua;scripts/bench_http/?.lua;" .. package.path
local cjson = require "cjson"
local uv = require "luv"
local process = require "process"
local contenders = require "contenders"
local statistics = require "statistics"

options.directory = options.build .. "/bench/http"
assert(os.execute(("mkdir -p '%s'"):format(options.directory)))
options.directory, options.build = assert(uv.fs_realpath(options.directory)), assert(uv.fs_realpath(options.build))

-- An article of 256 bytes; a server gives it an id, which the answer has too.
local article = '{"title":"The tide comes in","author":"author-7","body":""}'
article = article:gsub('"body":""', ('"body":"%s"'):format(("x"):rep(256 - #article)))
local ANSWER_BYTES = 256 + 44

local OPERATIONS = { "post", "post_handler", "get", "get_handler", "durable" }
local CONNECTIONS, PIPELINES = { 1, 64, 1000 }, { 1, 16 }
local failures, results = 0, { lines = {}, order = {}, goals = {} }

local function progress(...)
  if uv.guess_handle(2) == "tty" then io.stderr:write("\r\27[K", string.format(...)) end
end

local function wrong(...)
  failures = failures + 1
  print("WRONG: " .. string.format(...))
end

local function read_json(path)
  local file = assert(io.open(path))
  local value = cjson.decode(file:read "a")
  file:close()
  return value
end

--- One run of the tester against a contender.
local function run_tester(contender, operation, connections, pipeline)
  local serves, out = contender.serves[operation], options.directory .. "/figures.json"
  local body = serves[1] == "POST" and article or ""
  local child = process.start(options.build .. "/tidemark", { "load", "scripts/bench_http/load.lua", "--url", contender.url,
    "--connections", tostring(connections), "--pipeline", tostring(pipeline), "--duration", options.seconds .. "s",
    "--warmup", "0", "--timeout", "20s", "--json", out, "--", serves[1], serves[2], body, serves[3] or "" })
  if process.finish(child, 120) ~= 0 then error("tidemark load: " .. child.errors .. child.output) end
  local figures = read_json(out)
  if figures.errors > 0 then wrong("%s: %d errors in %s", contender.name, figures.errors, operation) end
  return figures
end

--- In a virtual machine, memory that was free for a while must first be found by the host, at some ms a 2 MiB: it is
--- touched before each run, so that the servers are measured and not the host.
local function warm_memory()
  assert(#("x"):rep(256 << 20) > 0)
  collectgarbage()
end

local function measure(contender, operation, connections, pipeline)
  warm_memory()
  local before = contender:cpu_ns()
  local run = contender.run or run_tester
  local figures
  if contender.run then
    figures = run(contender, operation, article, connections, pipeline, options.seconds)
  else
    figures = run(contender, operation, connections, pipeline)
  end
  figures.cpu_us = (contender:cpu_ns() - before) / 1000 / figures.requests
  return figures
end

--- Before GETs there is the article that they read, and it is the same everywhere.
local function provide(contender, operation)
  if not operation:find "^get" then return end
  local document = article:gsub("^{", '{"id":"article",')
  if contender.own_protocol then
    contender:client(("set article:1 '%s'"):format(document))
  elseif contender.count then
    local path = contender.serves.post[2]
    contenders.curl(("-H 'Content-Type: application/json' --data-binary '%s' %s%s"):format(document, contender.url, path))
    local found = contenders.curl(contender.url .. contender.serves[operation][2])
    local ok, decoded = pcall(cjson.decode, found)
    if not ok or decoded.id ~= "article" or decoded.body ~= cjson.decode(article).body then
      wrong("%s does not give the article back: %s", contender.name, found)
    end
  end
end

--- Each answered POST is stored; at a run's end some may be stored that were not answered any more.
local function check_count(contender, operation, answered, unanswered_max)
  if operation:find "^get" or not contender.count then return end
  local count = contender:count()
  if not count or count < answered or count > answered + unanswered_max then
    wrong("%s has %s articles of %d that were answered (%s)", contender.name, tostring(count), answered, operation)
  end
end

local function run_line(all, operation, connections, pipeline)
  local line = { name = ("%s/%d/%d"):format(operation, connections, pipeline), contenders = {}, order = {} }
  local taking = {}
  for _, contender in ipairs(all) do
    if contender.serves[operation] and not contender.why_not then
      contender:begin(operation)
      provide(contender, operation)
      taking[#taking + 1] = { contender = contender, rates = {}, cpu = {}, p50 = {}, answered = 0 }
    end
  end
  for round = 1, options.rounds do
    for _, each in ipairs(taking) do
      progress("%s, round %d: %s", line.name, round, each.contender.name)
      local figures = measure(each.contender, operation, connections, pipeline)
      table.insert(each.rates, figures.requests_per_second)
      table.insert(each.cpu, figures.cpu_us)
      table.insert(each.p50, figures.p50_ms)
      each.answered = each.answered + math.tointeger(figures.requests)
    end
  end
  progress ""
  for _, each in ipairs(taking) do
    check_count(each.contender, operation, each.answered, options.rounds * connections * pipeline)
    local sync_ms = each.contender.sync_ms and each.contender:sync_ms()
    each.contender:stop()
    local low, high = statistics.extremes(each.rates)
    line.contenders[each.contender.name] = { rate = statistics.median(each.rates), low = low, high = high,
      cpu_us = statistics.median(each.cpu), p50_ms = statistics.median(each.p50), sync_ms = sync_ms }
    table.insert(line.order, each.contender.name)
  end
  results.lines[line.name] = line
  table.insert(results.order, line.name)
  return line
end

local function print_line(line)
  local ours = line.contenders.tidemark
  for _, name in ipairs(line.order) do
    local each = line.contenders[name]
    print(("%-22s %-12s %10.0f/s  %9.0f - %-9.0f %8.2f us  p50 %8.3f ms  %s"):format(line.name, name, each.rate, each.low,
      each.high, each.cpu_us, each.p50_ms,
      name == "tidemark" and "" or ("tidemark is %.2f x"):format(ours.rate / each.rate)))
  end
end

--- Prints a goal; value: nil or false when it was not measured.
local function goal(text, value, bound, lower)
  local met = value and (lower and value >= bound or not lower and value <= bound)
  table.insert(results.goals, { text = text, value = value or nil, bound = bound, lower = lower or false, met = met or false })
  print(("%-62s %10s  %s %-8g %s"):format(text, value and ("%.2f"):format(value) or "-", lower and ">=" or "<=", bound,
    not value and "not measured" or met and "met" or "MISSED"))
end

-- ---- Beside the lines ----

local function wanted(name) return name:find(options.only) ~= nil end

--- fdatasync of 4 KiB in a file that was written before, in ms; by the engine's own disk.
local function sync_ms()
  local path = options.directory .. "/sync"
  local file = assert(uv.fs_open(path, "w+", 420))
  uv.fs_write(file, ("x"):rep(1 << 20), 0)
  uv.fs_fsync(file)
  local times = {}
  for i = 1, 60 do
    uv.fs_write(file, ("y"):rep(4096), (i % 200) * 4096)
    local before = uv.hrtime()
    uv.fs_fdatasync(file)
    times[i] = (uv.hrtime() - before) / 1e6
  end
  uv.fs_close(file)
  os.remove(path)
  return statistics.median(times)
end

local function tester_against_wrk(constant)
  constant:begin()
  local ours, theirs = {}, {}
  for round = 1, options.rounds do
    progress("tester, round %d", round)
    ours[round] = run_tester(constant, "get", 64, 1).requests_per_second
    local child = process.start("wrk", { "-t1", "-c64", "-d" .. math.max(1, math.floor(options.seconds)) .. "s",
      constant.url .. "/resource/article" })
    process.finish(child, 60)
    theirs[round] = tonumber(child.output:match "Requests/sec:%s*([%d.]+)") or error("wrk: " .. child.errors)
  end
  progress ""
  constant:stop()
  return statistics.median(ours) / statistics.median(theirs)
end

local function idle_bytes(tidemark, connections)
  tidemark:begin()
  local before = tidemark:resident_bytes()
  local child = process.start("/bin/bash", { "-c", ("ulimit -n 30000; exec lua5.4 scripts/bench_http/idle.lua %s %d"):format(
    tidemark.url:match "%d+$", connections) })
  process.wait(60, "idle connections", function() return child.code or child.output:find "connected" end)
  if child.code then error("idle.lua: " .. child.errors) end
  local bytes = (tidemark:resident_bytes() - before) / connections
  process.signal(child, "sigterm")
  process.finish(child, 10)
  tidemark:stop()
  return bytes
end

--- After a warm-up and then after a million more requests: bytes and descriptors that were not given back.
local function lost_after_a_million(tidemark)
  tidemark:begin()
  provide(tidemark, "get")
  local function send(requests)
    for _, each in ipairs { { "GET", "/resource/article", "" }, { "GET", "/handler/article", "" },
      { "PUT", "/resource-memory/article", article }, { "PUT", "/resource/article", article } } do
      local child = process.start(options.build .. "/tidemark", { "load", "scripts/bench_http/load.lua", "--url", tidemark.url,
        "--connections", "64", "--requests", tostring(requests // 4), "--json", options.directory .. "/figures.json", "--",
        each[1], each[2], each[3] })
      if process.finish(child, 120) ~= 0 then error("tidemark load: " .. child.errors) end
      if read_json(options.directory .. "/figures.json").errors > 0 then wrong("errors among a million requests") end
    end
    process.sleep(1)
  end
  send(2400000) -- the channel's slots are touched for the first time until it has gone round
  local bytes, descriptors = tidemark:resident_bytes(), tidemark:descriptors()
  send(1000000)
  bytes, descriptors = tidemark:resident_bytes() - bytes, tidemark:descriptors() - descriptors
  tidemark:stop()
  return bytes, descriptors
end

-- ---- The whole ----

local all = contenders.all(options, ANSWER_BYTES)
print(("%s, %d rounds of %g s; one server thread each, one of the tester"):format(os.date "!%Y-%m-%d %H:%M", options.rounds,
  options.seconds))
for _, contender in ipairs(all) do
  if contender.why_not then print(("%s is left out: %s"):format(contender.name, contender.why_not))
  elseif contender.settings then print(("%s: %s"):format(contender.name, contender.settings)) end
end
print ""

local function figure(line, name, field)
  local found = results.lines[line] and results.lines[line].contenders[name]
  return found and found[field]
end
local function ratio(line, name, field, other, other_line)
  local ours, theirs = figure(line, name, field), figure(other_line or line, other, field)
  return ours and theirs and ours / theirs
end

local function run_lines()
  for _, operation in ipairs(OPERATIONS) do
    for _, pipeline in ipairs(PIPELINES) do
      for _, connections in ipairs(CONNECTIONS) do
        if wanted(("%s/%d/%d"):format(operation, connections, pipeline)) then
          print_line(run_line(all, operation, connections, pipeline))
        end
      end
    end
  end
end

local function judge()
  print "\ngoals (64 connections; in this run)"
  goal("POST to the resource / constant server", ratio("post/64/1", "tidemark", "rate", "constant"), 0.85, true)
  goal("POST to the resource / nginx+lua", ratio("post/64/1", "tidemark", "rate", "nginx+lua"), 1.3, true)
  goal("GET from the resource / constant server", ratio("get/64/1", "tidemark", "rate", "constant"), 0.90, true)
  goal("GET from the resource / nginx+lua", ratio("get/64/1", "tidemark", "rate", "nginx+lua"), 1.3, true)
  goal("POST to a handler / constant server", ratio("post_handler/64/1", "tidemark", "rate", "constant"), 0.70, true)
  goal("processor time, POST to the resource / constant", ratio("post/64/1", "tidemark", "cpu_us", "constant"), 1.35)
  goal("processor time, GET from the resource / constant", ratio("get/64/1", "tidemark", "cpu_us", "constant"), 1.35)
  goal("processor time, POST to a handler / constant", ratio("post_handler/64/1", "tidemark", "cpu_us", "constant"), 2)
  goal("processor time, GET by a handler / constant", ratio("get_handler/64/1", "tidemark", "cpu_us", "constant"), 2)
  goal("pipelined 16, GET from the resource, requests/s", figure("get/64/16", "tidemark", "rate"), 300000, true)
  goal("pipelined 16, POST to the resource, requests/s", figure("post/64/16", "tidemark", "rate"), 300000, true)
  local sync = wanted "durable/64/1" and sync_ms()
  goal("durable POST, median / fdatasync of 4 KiB on an idle machine",
    sync and figure("durable/64/1", "tidemark", "p50_ms") / sync, 2.5)
  goal("durable POST, median / mean fdatasync of the same run", sync and figure("durable/64/1", "tidemark", "p50_ms")
    / figure("durable/64/1", "tidemark", "sync_ms"), 2.5)
  goal("durable POST, 64 connections / one",
    ratio("durable/64/1", "tidemark", "rate", "tidemark", "durable/1/1"), 20, true)
  goal("tester's rate / wrk's, constant server", wanted "tester" and tester_against_wrk(all[1]), 0.95, true)
  goal("bytes of an idle connection, 10,000 of them", wanted "memory" and idle_bytes(all[2], 10000), 4096)
  local lost, descriptors
  if wanted "memory" then lost, descriptors = lost_after_a_million(all[2]) end
  goal("MiB kept after a million requests", lost and lost / (1 << 20), 2)
  goal("descriptors kept after a million requests", descriptors, 0)
end

local ok, message = xpcall(function()
  run_lines()
  judge()
end, debug.traceback)
for _, contender in ipairs(all) do contender:stop() end
if not ok then error(message, 0) end
local file = assert(io.open(options.json or options.build .. "/bench/http.json", "w"))
file:write(cjson.encode(results), "\n")
file:close()
os.exit(failures == 0 and 0 or 1, true)
