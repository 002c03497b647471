-- load_report.lua: from what a run measured to its figures, the table, the thresholds and the JSON text.
local report = {}

local PERCENTILES = {
  { "p50_ms", 50 }, { "p75_ms", 75 }, { "p90_ms", 90 }, { "p99_ms", 99 }, { "p99_9_ms", 99.9 }, { "p99_99_ms", 99.99 },
}
local KINDS = { "connect", "read", "write", "timeout", "status" }

-- What a threshold may name, in the order of the JSON text.
local NAMES = {
  "requests", "errors", "error_rate", "duration_s", "requests_per_second", "bytes_received", "mean_ms", "p50_ms", "p75_ms",
  "p90_ms", "p99_ms", "p99_9_ms", "p99_99_ms", "max_ms", "unsent", "tester_cpu",
}
local LOWER_BOUND = { requests = true, requests_per_second = true }

--- The flat figures, named as in the JSON text.
function report.figures(measured)
  local latency, errors, failed = measured.latency, 0, 0
  for _, kind in ipairs(KINDS) do
    errors = errors + measured.error_kinds[kind]
    if kind ~= "status" then failed = failed + measured.error_kinds[kind] end
  end
  local all, cpu = measured.requests + failed, 0
  for _, share in ipairs(measured.thread_cpu) do cpu = math.max(cpu, share) end
  local figures = {
    requests = measured.requests, errors = errors, error_rate = all > 0 and errors / all or 0,
    duration_s = measured.duration_s,
    requests_per_second = measured.duration_s > 0 and measured.requests / measured.duration_s or 0,
    bytes_received = measured.bytes_received, mean_ms = latency.mean / 1e6, stdev_ms = latency.stdev / 1e6,
    min_ms = latency.min / 1e6, max_ms = latency.max / 1e6, unsent = measured.unsent, status = measured.status,
    error_kinds = measured.error_kinds, tester_cpu = math.min(cpu, 1), tester_cpu_threads = measured.thread_cpu,
    histogram = {},
  }
  for _, percentile in ipairs(PERCENTILES) do figures[percentile[1]] = latency:percentile(percentile[2]) / 1e6 end
  for i = 1, #latency do
    local value, count = latency(i)
    figures.histogram[i] = { value / 1e6, count }
  end
  return figures
end

--- The script's thresholds as a sorted list; what no figure is called is wrong usage.
function report.thresholds(common, script, given)
  local list = {}
  if given == nil then return list end
  if type(given) ~= "table" then common.fail(2, "%s: thresholds is a %s, not a table", script, type(given)) end
  local known = {}
  for i, name in ipairs(NAMES) do known[name] = i end
  for name, bound in pairs(given) do
    if not known[name] then
      common.fail(2, "%s: unknown threshold %s; there are %s", script, tostring(name), table.concat(NAMES, ", "))
    end
    if type(bound) ~= "number" or bound - bound ~= 0 then -- infinite or NaN: JSON has no such number
      common.fail(2, "%s: threshold %s is not a number", script, name)
    end
    list[#list + 1] = { name = name, bound = bound, lower = LOWER_BOUND[name] or false }
  end
  table.sort(list, function(a, b) return known[a.name] < known[b.name] end)
  return list
end

--- Adds to each threshold what was measured, and whether it is met. Without an answer no bound of a latency is.
function report.judge(thresholds, figures)
  for _, threshold in ipairs(thresholds) do
    local value = figures[threshold.name]
    threshold.value = value
    if threshold.lower then threshold.met = value >= threshold.bound else threshold.met = value <= threshold.bound end
    if figures.requests == 0 and threshold.name:find "_ms$" then threshold.met = false end
  end
  return thresholds
end

local function plural(number, noun) return ("%d %s%s"):format(number, noun, number == 1 and "" or "s") end

local function time(number)
  if number < 1 then return ("%.0f ms"):format(number * 1000) end
  return ("%.1f s"):format(number)
end

function report.title(options, given, measured)
  local parts = { given.url or given.engine, plural(options.threads, "thread") }
  if given.url then parts[#parts + 1] = plural(options.connections, "connection") end
  if options.pipeline > 1 then parts[#parts + 1] = ("pipeline of %d"):format(options.pipeline) end
  parts[#parts + 1] = options.rate and ("open loop at %g/s"):format(options.rate) or "closed loop"
  parts[#parts + 1] = time(measured.duration_s) .. " measured"
  if options.warmup_s > 0 then parts[#parts + 1] = ("%s of warm-up"):format(time(options.warmup_s)) end
  if measured.interrupted then parts[#parts + 1] = "interrupted" end
  return table.concat(parts, ", ")
end

local function bytes(number)
  for _, unit in ipairs { "B", "kB", "MB", "GB" } do
    if number < 1000 or unit == "GB" then return ("%.4g %s"):format(number, unit) end
    number = number / 1000
  end
end

--- What the reader must know to trust the figures: whether the tester itself was the limit.
function report.notes(figures, measured, options)
  local notes = {}
  local function note(...) notes[#notes + 1] = select("#", ...) > 1 and string.format(...) or (...) end
  if figures.tester_cpu >= 0.95 and not options.engine then
    note("the tester was the limit: a thread used %.0f %% of its processor; give more --threads, or a script that does less",
      figures.tester_cpu * 100)
  end
  local starts = figures.requests + figures.unsent
  if measured.behind > 0 and measured.behind >= starts / 100 then
    note("the tester was the limit: it sent %d of %d requests over 1 ms after schedule though a %s was free",
      measured.behind, starts, options.engine and "thread" or "connection")
  end
  local waited = measured.late - measured.behind
  if (waited > 0 and waited >= starts / 100) or (options.rate and figures.unsent > starts / 100) then
    note("%d requests started late and %d not at all, since every %s was busy: the server was slower than the schedule%s",
      waited, figures.unsent, options.engine and "thread" or "connection",
      options.engine and "" or ", or more --connections are needed")
  elseif figures.unsent > 0 and not options.rate then
    note("%d of the requests weren't sent", figures.unsent)
  end
  if figures.requests > 0 and figures.requests < 1000 then
    note("few requests: percentiles above %.4g %% are those of single ones", 100 - 100 / figures.requests)
  end
  return notes
end

--- The report for people.
function report.text(figures, measured, judged, options)
  local lines = { figures.title, "" }
  local function row(name, ...) lines[#lines + 1] = ("  %-16s "):format(name) .. string.format(...) end
  row("requests", "%-12d %.1f/s", figures.requests, figures.requests_per_second)
  if not options.engine then
    row("received", "%-12s %s/s", bytes(figures.bytes_received),
      bytes(figures.duration_s > 0 and figures.bytes_received / figures.duration_s or 0))
  end
  row("errors", "%-12d %.4g %%", figures.errors, figures.error_rate * 100)
  if options.rate or figures.unsent > 0 then row("unsent", "%d", figures.unsent) end
  lines[#lines + 1] = "\nlatency           ms"
  for _, each in ipairs {
    { "mean", "mean_ms" }, { "stdev", "stdev_ms" }, { "min", "min_ms" },
    { "50 %", "p50_ms" }, { "75 %", "p75_ms" }, { "90 %", "p90_ms" },
    { "99 %", "p99_ms" }, { "99.9 %", "p99_9_ms" }, { "99.99 %", "p99_99_ms" }, { "max", "max_ms" },
  } do
    row(each[1], "%.3f", figures[each[2]])
  end
  lines[#lines + 1] = "\nstatuses"
  local codes = {}
  for code in pairs(figures.status) do codes[#codes + 1] = code end
  table.sort(codes)
  for _, code in ipairs(codes) do row(code, "%d", figures.status[code]) end
  if figures.errors > 0 then
    lines[#lines + 1] = "\nerrors by kind"
    for _, kind in ipairs(KINDS) do row(kind, "%d", figures.error_kinds[kind]) end
  end
  if #judged > 0 then
    lines[#lines + 1] = "\nthresholds"
    for _, threshold in ipairs(judged) do
      row(threshold.name, "%s %-10.6g %-12.6g %s", threshold.lower and ">=" or "<=", threshold.bound, threshold.value,
        threshold.met and "met" or "MISSED")
    end
  end
  lines[#lines + 1] = ("\ntester: %.0f %% of a processor%s"):format(figures.tester_cpu * 100,
    #figures.tester_cpu_threads > 1 and " in the busiest thread" or "")
  for _, note in ipairs(report.notes(figures, measured, options)) do lines[#lines + 1] = "note: " .. note end
  return table.concat(lines, "\n") .. "\n"
end

local function number(value)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  return ("%.9g"):format(value)
end

--- What isn't UTF-8 is taken for Latin-1: a script may call its failures what it likes, JSON is UTF-8.
local function quoted(text)
  local special = utf8.len(text) and '[%c"\\]' or '[%c"\\\128-\255]'
  return '"' .. text:gsub(special, function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function object(counts)
  local keys, parts = {}, {}
  for key in pairs(counts) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do parts[i] = ("%s:%s"):format(quoted(key), number(counts[key])) end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- All figures as a JSON object; histogram is an array of [milliseconds, count].
function report.json(figures, judged)
  local parts = {}
  local function member(name, text) parts[#parts + 1] = ("%s:%s"):format(quoted(name), text) end
  for _, name in ipairs(NAMES) do member(name, number(figures[name])) end
  member("status", object(figures.status))
  member("error_kinds", object(figures.error_kinds))
  local list = {}
  for i, share in ipairs(figures.tester_cpu_threads) do list[i] = number(share) end
  member("tester_cpu_threads", "[" .. table.concat(list, ",") .. "]")
  list = {}
  for i, threshold in ipairs(judged) do
    list[i] = ('{"name":%s,"bound":%s,"value":%s,"met":%s}'):format(quoted(threshold.name), number(threshold.bound),
      number(threshold.value), tostring(threshold.met))
  end
  member("thresholds", "[" .. table.concat(list, ",") .. "]")
  list = {}
  for i, bucket in ipairs(figures.histogram) do list[i] = ("[%s,%d]"):format(number(bucket[1]), bucket[2]) end
  member("histogram", "[" .. table.concat(list, ",") .. "]")
  return "{" .. table.concat(parts, ",") .. "}\n"
end

return report
