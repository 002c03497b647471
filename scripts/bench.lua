-- bench.lua: the engine beside what is possible and what people would take instead. Contenders are programs of their own and
-- take turns within each line; each checks what it has read and counted, and a wrong result ends its line.
local usage = [[
usage: lua5.4 scripts/bench.lua [--build DIR] [--rounds 5] [--documents 1000000] [--update-seconds 10] [--only PATTERN]

--documents is that of the large lines; --only takes a Lua pattern of a line's name. Writes DIR/bench/report.json and
report.html. Exit status 1: a contender's result was wrong. Goals that are missed are printed as missed.

examples:
  make bench
  lua5.4 scripts/bench.lua --only '^get/' --rounds 3
  lua5.4 scripts/bench.lua --only '^create/' --documents 10000000
]]

local options = { build = "build", rounds = 5, documents = 1000000, update_seconds = 10, only = "" }
do
  local i = 1
  while arg[i] do
    local name = arg[i]:match "^%-%-([%a-]+)$"
    name = name and name:gsub("-", "_")
    if name == "help" then
      io.write(usage)
      os.exit(0)
    end
    if options[name] == nil or not arg[i + 1] then
      io.stderr:write(usage)
      os.exit(2)
    end
    options[name] = type(options[name]) == "number" and math.tointeger(tonumber(arg[i + 1])) or arg[i + 1]
    i = i + 2
  end
end

package.path = "scripts/?.lua;scripts/bench/?.lua;" .. package.path
local cjson = require "cjson"
local lines = require "lines"
local statistics = require "statistics"
local directory = options.build .. "/bench/stores"
local report = { machine = {}, settings = {}, lines = {}, goals = {}, documents = options.documents, rounds = options.rounds }
local failures = 0

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

local function capture(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  local ok = pipe:close()
  return (text:gsub("%s+$", "")), ok
end

local terminal = os.execute "test -t 2"
local function progress(...)
  if terminal then io.stderr:write("\r\27[K", string.format(...)) end
end

--- One run of one contender; nil when it says that something was wrong.
local function run(entry, contender, arguments)
  local path = ("%s/%s-%s"):format(directory, contender, entry.keep or "fresh")
  local fresh = not entry.keep and ("rm -rf '%s'; "):format(path) or ""
  local text, ok = capture(("%smkdir -p '%s' && %s/bench/bin/%s %s '%s' %s 2>&1"):format(fresh, path, options.build, contender,
    entry.line, path, arguments))
  if not entry.keep then os.execute(("rm -rf '%s'"):format(path)) end
  local decoded, result = pcall(cjson.decode, text)
  if ok and decoded then return result end
  failures = failures + 1
  progress ""
  print(("WRONG: %s, %s: %s"):format(entry.name, contender, text:gsub("\n.*", "")))
end

local function arguments_of(entry, contender)
  if not entry.half_rate_of then return entry.arguments end
  local base = report.lines[entry.half_rate_of]
  local found = base and base.contenders[contender]
  return found and ("%s rate=%d"):format(entry.arguments, found.rate // 2)
end

local LATENCIES = { "p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us" }

--- Medians of all rounds' figures; of lists the last round's.
local function summary(results)
  local found = {}
  for name, value in pairs(results[1]) do
    local values = {}
    for i, result in ipairs(results) do values[i] = result[name] end
    found[name] = type(value) == "number" and statistics.median(values) or results[#results][name]
    if name == "rate" then found.low, found.high = statistics.extremes(values) end
  end
  return found
end

local function run_line(entry)
  local line = { name = entry.name, title = entry.title, latency = entry.latency, series = entry.series, contenders = {},
    order = {} }
  local results = {}
  for round = 1, entry.once and 1 or options.rounds do
    for _, contender in ipairs(entry.contenders) do
      local arguments = exists(("%s/bench/bin/%s"):format(options.build, contender)) and arguments_of(entry, contender)
      if arguments then
        progress("%s, round %d: %s", entry.name, round, contender)
        local result = run(entry, contender, arguments)
        results[contender] = results[contender] or {}
        table.insert(results[contender], result)
      end
    end
  end
  progress ""
  for _, contender in ipairs(entry.contenders) do
    if results[contender] and results[contender][1] then
      line.contenders[contender] = summary(results[contender])
      table.insert(line.order, contender)
      report.settings[contender] = line.contenders[contender].settings
    end
  end
  report.lines[entry.name] = line
  table.insert(report.lines, line)
  return line
end

local function print_line(line)
  local ours = line.contenders.tidemark
  print(line.title)
  for _, name in ipairs(line.order) do
    local each = line.contenders[name]
    local text = ("  %-11s %12.0f/s  %11.0f - %-11.0f"):format(name, each.rate, each.low, each.high)
    if name ~= "tidemark" and ours then text = text .. ("  tidemark is %.2f x"):format(ours.rate / each.rate) end
    if line.latency and each.p50_us then
      local parts = {}
      for i, field in ipairs(LATENCIES) do
        parts[i] = ("%s %.0f"):format(field:gsub("_us$", ""):gsub("_(%d)", ".%1"), each[field])
      end
      text = text .. "\n              us: " .. table.concat(parts, "  ")
    end
    print(text)
  end
end

local function figure(line, contender, field)
  local found = report.lines[line] and report.lines[line].contenders[contender]
  return found and found[field]
end

local function best(line)
  local rate
  for _, contender in ipairs(lines.embedded) do
    local found = figure(line, contender, "rate")
    if found and (not rate or found > rate) then rate = found end
  end
  return rate
end

local function judge()
  print "\ngoals"
  for _, goal in ipairs(lines.goals(figure, best)) do
    local text, value, bound, lower = table.unpack(goal, 1, 4)
    local met = value and (lower and value >= bound or not lower and value <= bound) or false
    table.insert(report.goals, { text = text, value = value or nil, bound = bound, lower = lower or false, met = met })
    print(("  %-58s %10s  %s %-6g %s"):format(text, value and ("%.2f"):format(value) or "-", lower and ">=" or "<=", bound,
      not value and "not measured" or met and "met" or "MISSED"))
  end
end

os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(directory, directory))
report.machine = {
  processor = capture "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'",
  processors = tonumber((capture "nproc")), kernel = capture "uname -r", date = os.date "!%Y-%m-%d %H:%M",
  file_system = capture(("df --output=fstype '%s' | tail -n 1"):format(directory)),
}
print(("%s, %d processors, %s, %s, %s"):format(report.machine.processor, report.machine.processors, report.machine.kernel,
  report.machine.file_system, report.machine.date))
print(("articles of 256 bytes, ids in random order, %d rounds, %d documents in the large lines\n"):format(options.rounds,
  options.documents))
for _, entry in ipairs(lines.all(options)) do
  if entry.name:find(options.only) then print_line(run_line(entry)) end
end
print "\nsettings"
for name, settings in pairs(report.settings) do print(("  %-11s %s"):format(name, settings)) end
for _, name in ipairs(lines.embedded) do
  if not exists(("%s/bench/bin/%s"):format(options.build, name)) then
    print(("  %-11s could not be had, and is left out"):format(name))
  end
end
judge()
os.execute(("rm -rf '%s'"):format(directory))

local function write(name, text)
  local path = ("%s/bench/%s"):format(options.build, name)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
  print((name == "report.json" and "\n" or "") .. path)
end
local list = {}
for i, line in ipairs(report.lines) do list[i] = line end
report.lines = list
write("report.json", cjson.encode(report) .. "\n")
write("report.html", require "page".make(report))
os.exit(failures == 0 and 0 or 1, true)
