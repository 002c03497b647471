-- bench.lua: the engine beside what is possible and what people would take instead. Contenders are programs of their own and
-- take turns, round by round; each checks what it has read and counted, and a wrong result is told and left out.
local usage = [[
usage: lua5.4 scripts/bench.lua [--build DIR] [--rounds 5] [--documents 1000000] [--update-seconds 60] [--only PATTERN]
                                [--seconds 0] [--http no] [--report report] [--small 100000]

--documents is that of the large lines, --small that of those named 100,000 (for a test of the bench); --only takes a Lua
pattern of a line's name, or several with | between them; --seconds: behind the third round no more is begun that would end
later; 0: however long it takes; --http yes: the lines of the server, too. A peer whose run takes longer than five seconds
takes part in every other round alone, and what slow ones are asked for instead of the line's arguments is printed beside
their figures. Writes DIR/bench/report.json and report.html. Exit status 1: a contender's result was wrong; 2: no line is
named so. Goals that are missed are printed as missed.

examples:
  make bench
  lua5.4 scripts/bench.lua --only '^get/' --rounds 3
  lua5.4 scripts/bench.lua --only '^create/large$|^recovery$' --documents 10000000 --rounds 1
]]

local options = { build = "build", rounds = 5, documents = 1000000, small = 100000, update_seconds = 60, only = "", seconds = 0,
  http = "no", report = "report" }
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

io.stdout:setvbuf "line"
package.path = "scripts/?.lua;scripts/bench/?.lua;" .. package.path
local cjson = require "cjson"
local lines = require "lines"
local statistics = require "statistics"
local directory = options.build .. "/bench/stores"
local report = { machine = {}, settings = {}, lines = {}, goals = {}, documents = options.documents, rounds = options.rounds }
local ROUNDS_MIN = 3 -- however slow the machine
local SLOW_S = 5 -- a peer whose last run took longer sits out each round of an even number
local failures = 0
local left_out = {} -- names of contenders that could not be had

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

--- The command that is a contender's in a line, and what the line is called there; nil: it could not be had.
local function program_of(entry, contender)
  local alias = lines.aliases[contender]
  local program = ("%s/bench/bin/%s"):format(options.build, alias and alias.program or contender)
  local interpreter = entry.command and entry.command(contender)
  if interpreter then
    if not capture(("command -v %s"):format(interpreter:match "%S+")):find "%S" then return end
    if contender == "luasql" and not package.searchpath("luasql.sqlite3", package.cpath) then return end
    if contender == "parts" and not exists(options.build .. "/bench/bench_parts.so") then return end
    return ("LUA_PATH_5_4='%s/?.lua;;' LUA_CPATH_5_4='%s/bench/?.so;%s/?.so;;' timeout 300 %s %s"):format(options.build,
      options.build, options.build, interpreter, contender), entry.line
  end
  return exists(program) and "timeout 900 " .. program, alias and alias.lines[entry.line] or entry.line
end

--- One run of one contender; nil when it says that something was wrong.
local function run(entry, contender, arguments)
  local path = ("%s/%s-%s"):format(directory, contender, entry.keep or "fresh")
  local fresh = not entry.keep and ("rm -rf '%s'; "):format(path) or ""
  local command, line = program_of(entry, contender)
  local text, ok = capture(("%smkdir -p '%s' && %s %s '%s' %s 2>&1"):format(fresh, path, command, line, path, arguments))
  if not entry.keep then os.execute(("rm -rf '%s'"):format(path)) end
  local decoded, result = pcall(cjson.decode, text)
  if ok and decoded then return result end
  failures = failures + 1
  progress ""
  print(("WRONG: %s, %s: %s"):format(entry.name, contender, text:gsub("\n.*", "")))
end

--- Of each line, of each contender: what it had in each round; nil: something was wrong.
local results = {}

--- Medians of what there is of all rounds' figures; of lists the last one. nil: there is nothing.
local function summary(line, contender)
  local there = {}
  local all = results[line] and results[line][contender] or {}
  for round = 1, options.rounds do
    if all[round] then table.insert(there, all[round]) end
  end
  if not there[1] then return end
  local found = {}
  for name, value in pairs(there[1]) do
    local values = {}
    for i, result in ipairs(there) do values[i] = result[name] end
    found[name] = type(value) == "number" and statistics.median(values) or there[#there][name]
    if name == "rate" then found.low, found.high = statistics.extremes(values) end
  end
  return found
end

local function arguments_of(entry, contender)
  local instead = entry.instead and entry.instead[contender]
  if instead then return entry.arguments .. " " .. instead end -- the later one counts
  if not entry.half_rate_of then return entry.arguments end
  local whose = entry.rate_as and entry.rate_as[contender] or contender
  local rate = math.huge -- the least of these lines, as far as they are known, is what it can keep up
  for _, name in ipairs(entry.half_rate_of) do
    local found = summary(name, whose)
    rate = found and math.min(rate, found.rate) or rate
  end
  return rate < math.huge and ("%s rate=%d"):format(entry.arguments, rate // 2) or nil
end

local LATENCIES = { "p50_us", "p90_us", "p99_us", "p99_9_us", "p99_99_us", "max_us" }

--- One round of one line, all its contenders.
local function run_line(entry, round)
  local start = os.time()
  local line = results[entry.name] or { seconds = 0 }
  results[entry.name] = line
  for _, contender in ipairs(entry.contenders) do
    local absent = line[contender] and line[contender].slow and round % 2 == 0
    local arguments = not absent and program_of(entry, contender) and arguments_of(entry, contender)
    left_out[contender] = not program_of(entry, contender) or nil
    if arguments then
      progress("round %d of %d, %s: %s", round, options.rounds, entry.name, contender)
      line[contender] = line[contender] or {}
      local run_start = os.time()
      line[contender][round] = run(entry, contender, arguments)
      line[contender].slow = contender ~= "tidemark" and os.time() - run_start > SLOW_S
    end
  end
  progress ""
  line.seconds = line.seconds + os.time() - start
end

--- A line of the report, of all its rounds.
local function line_of(entry)
  local line = { name = entry.name, title = entry.title, latency = entry.latency, series = entry.series,
    memory = entry.memory, seconds = results[entry.name].seconds, contenders = {}, order = {} }
  for _, contender in ipairs(entry.contenders) do
    local found = summary(entry.name, contender)
    if found then
      line.contenders[contender] = found
      table.insert(line.order, contender)
      found.instead = entry.instead and entry.instead[contender]
      report.settings[contender] = found.settings
    end
  end
  report.lines[entry.name] = line
  table.insert(report.lines, line)
  return line
end

--- The median of what `value` makes of each round: it gets a function from line, contender and field to that round's
--- figure, and may return nil. Where a machine is slow for minutes, its ratios are those of one round's figures.
local function in_rounds(value)
  local values = {}
  for round = 1, options.rounds do
    local found = value(function(line, contender, field)
      local result = results[line] and results[line][contender] and results[line][contender][round]
      return result and result[field]
    end)
    if found then table.insert(values, found) end
  end
  return values[1] and statistics.median(values)
end

--- One contender's figure, by default the rate, as a multiple of another's, in one line or two.
local function ratio(line, contender, other, other_line, field)
  field = field or "rate"
  return in_rounds(function(of_round)
    local ours, theirs = of_round(line, contender, field), of_round(other_line or line, other, field)
    return ours and theirs and ours / theirs
  end)
end

local function print_line(line)
  print(("%s (%d s)"):format(line.title, line.seconds))
  for _, name in ipairs(line.order) do
    local each = line.contenders[name]
    local text = ("  %-11s %12.0f/s  %11.0f - %-11.0f"):format(name, each.rate, each.low, each.high)
    local times = name ~= "tidemark" and ratio(line.name, "tidemark", name)
    if times then text = text .. ("  tidemark is %.2f x"):format(times) end
    if each.instead then text = text .. "  " .. each.instead end
    if line.memory and each.memory_bytes_per_document and name ~= "redis" then
      text = text .. ("\n              memory %.0f bytes a document, %.0f beyond id and JSON; on disk %.2f bytes a byte of them")
        :format(each.memory_bytes_per_document, each.memory_bytes_per_document - 36 - 256, each.disk_bytes_per_byte)
    end
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

--- The server's lines, by their own script; its lines and goals become the report's.
local function run_http()
  print "\nthe server (64 connections; `make bench-http` for more of it)"
  local path = options.build .. "/bench/http.json"
  local _, _, status = os.execute(("lua5.4 scripts/bench-http.lua --build %s --rounds %d --seconds 0.5 --only '/64/' --json '%s'")
    :format(options.build, options.rounds, path))
  if status ~= 0 then failures = failures + 1 end
  local file = io.open(path)
  if not file then return end
  local http = cjson.decode(file:read "a")
  file:close()
  for _, line in ipairs(http.order) do
    local found = http.lines[line]
    table.insert(report.lines, { name = "http/" .. line, title = "HTTP: " .. line, contenders = found.contenders,
      order = found.order })
  end
  for _, goal in ipairs(http.goals) do
    if goal.value then table.insert(report.goals, goal) end
  end
end

local function judge()
  print "\ngoals"
  for _, goal in ipairs(lines.goals(figure, in_rounds, ratio)) do
    local text, value, bound, lower = table.unpack(goal, 1, 4)
    local met = value and (lower and value >= bound or not lower and value <= bound) or false
    table.insert(report.goals, { text = text, value = value or nil, bound = bound, lower = lower or false, met = met })
    print(("  %-66s %10s  %s %-6g %s"):format(text, value and ("%.2f"):format(value) or "-", lower and ">=" or "<=", bound,
      not value and "not measured" or met and "met" or "MISSED"))
  end
end

local function wanted(entry)
  for pattern in options.only:gmatch "[^|]+" do
    if entry.name:find(pattern) then return true end
  end
  return options.only == ""
end

local entries, names = {}, {}
for _, entry in ipairs(lines.all(options)) do
  table.insert(names, entry.name)
  if wanted(entry) then table.insert(entries, entry) end
end
if not entries[1] then
  io.stderr:write(("bench: no line's name matches %s; they are:\n  %s\n"):format(options.only, table.concat(names, "\n  ")))
  os.exit(2)
end

os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(directory, directory))
directory = capture(("realpath '%s'"):format(directory)) -- for servers that go elsewhere
report.machine = {
  processor = capture "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ *//'",
  processors = tonumber((capture "nproc")), kernel = capture "uname -r", date = os.date "!%Y-%m-%d %H:%M",
  file_system = capture(("df --output=fstype '%s' | tail -n 1 | grep -v '^-' || stat -f -c %%T '%s'") -- no df in a chroot
    :format(directory, directory)),
}
print(("%s, %d processors, %s, %s, %s"):format(report.machine.processor, report.machine.processors, report.machine.kernel,
  report.machine.file_system, report.machine.date))
print(("articles of 256 bytes, ids in random order, %d rounds, %d documents in the large lines\n"):format(options.rounds,
  options.documents))
-- Round by round, so that each line's figures are from all of the time, and a slow quarter of an hour isn't one line's.
local start = os.time()
for round = 1, options.rounds do
  local round_start = os.time()
  for _, entry in ipairs(entries) do
    if round == 1 or not entry.once then run_line(entry, round) end
  end
  local now = os.time()
  print(("round %d of %d: %d s"):format(round, options.rounds, now - round_start))
  local expected = (now - start) * (round + 1) // round
  if options.seconds > 0 and round >= ROUNDS_MIN and round < options.rounds and expected > options.seconds then
    print(("no more rounds: another one would end after %d s (--seconds %d)"):format(expected, options.seconds))
    options.rounds = round
    break
  end
end
report.rounds = options.rounds
print ""
for _, entry in ipairs(entries) do print_line(line_of(entry)) end
print "\nsettings"
for name, settings in pairs(report.settings) do print(("  %-11s %s"):format(name, settings)) end
for name in pairs(left_out) do print(("  %-11s could not be had, and is left out"):format(name)) end
if options.http == "yes" then run_http() end
judge()
os.execute(("rm -rf '%s'"):format(directory))

local function write(name, text)
  local path = ("%s/bench/%s"):format(options.build, name)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
  print((name:find "json$" and "\n" or "") .. path)
end
local list = {}
for i, line in ipairs(report.lines) do list[i] = line end
report.lines = list
write(options.report .. ".json", cjson.encode(report) .. "\n")
write(options.report .. ".html", require "page".make(report))
os.exit(failures == 0 and 0 or 1, true)
