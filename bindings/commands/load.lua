-- load.lua: the load tester's options, its run, and what comes of it: table, thresholds, JSON, page, exit status.
local load_command = {
  usage = [[
usage: tidemark load SCRIPT.lua --url URL [OPTIONS] [-- ARGS]
       tidemark load SCRIPT.lua --engine DIR [OPTIONS] [-- ARGS]

Sends requests and says how many were answered how fast. The script says what is sent, through the hooks that wrk has:
setup, init, delay, request, response, done, and the table wrk; an empty script sends GET. ARGS are init's.
With --engine, the script's operation(db, i) is called straight on the engine.

  --threads N       threads, each with a Lua state of its own (1)
  --connections N   connections in all (10)
  --duration T      how long is measured: 10, 500ms, 10s, 2m (10s)
  --requests N      instead of a duration: exactly N in all
  --rate R          starts a second in all, on schedule; latency counts from the scheduled start. Without it, each
                    connection sends its next request when it has the answer
  --pipeline D      requests under way on a connection (1)
  --warmup T        time before the measured one, in no figure (2s; 0 with --requests)
  --timeout T       an answer that takes longer is an error (2s)
  --json FILE       all figures; - is standard output, which then gets no table
  --html FILE       a page with percentiles, latency and rate over time

A table `thresholds` in the script, as { p99_ms = 5, error_rate = 0, requests_per_second = 50000 }, says what must be
kept: an upper bound, for requests and requests_per_second a lower one. The names are those of --json.

exit status: 0 fine, 1 a threshold was missed, 2 wrong usage or a script that is no Lua, 3 could not do it.

examples:
  tidemark load examples/load/blog.lua --url http://127.0.0.1:8080
  tidemark load examples/load/blog.lua --url http://127.0.0.1:8080 --rate 2000 --connections 50 --duration 30s
  tidemark load examples/load/counter.lua --url http://127.0.0.1:8080 --requests 10000 --html report.html
  tidemark load examples/load/engine.lua --engine data/load --threads 2 -- 1000
]],
}

local UNITS = { ms = 0.001, s = 1, [""] = 1, m = 60, h = 3600 }

local function seconds(common, name, text, minimum)
  local number, unit = text:match "^(%d*%.?%d+)(%a*)$"
  number = number and UNITS[unit] and tonumber(number) * UNITS[unit]
  if not number or number < minimum or number > 1e6 then
    common.fail(2, "--%s: %s is not a time like 10, 500ms, 10s or 2m", name, text)
  end
  return number
end

local function count(common, options, name, default, maximum)
  local number = options[name] or default
  if number < 1 or number > maximum then common.fail(2, "--%s: %d is not 1 to %d", name, number, maximum) end
  return number
end

--- Takes a URL apart; wrk.scheme, host, port (a string or nil), path are its parts.
local function parse_url(common, url)
  local scheme, authority, path = url:match "^(%a[%w+.-]*)://([^/?#]*)([^#]*)"
  if not scheme then common.fail(2, "--url: %s is not a URL like http://127.0.0.1:8080/path", url) end
  if scheme:lower() ~= "http" then common.fail(2, "--url: %s: only http can be tested", url) end
  local host, port = authority:match "^%[([%x:.]+)%]:?(%d*)$"
  if not host then host, port = authority:match "^([^:@%s]+):?(%d*)$" end
  if not host or (port ~= "" and tonumber(port) > 65535) then common.fail(2, "--url: %s: no host and port", url) end
  if path:find "[%c ]" then common.fail(2, "--url: %s: a space in the path; write %%20", url) end
  if path:sub(1, 1) ~= "/" then path = "/" .. path end
  return "http", host, port ~= "" and port or nil, path
end

local function split(arguments)
  local own, extra, behind = {}, {}, false
  for _, argument in ipairs(arguments) do
    if behind then
      extra[#extra + 1] = argument
    elseif argument == "--" then
      behind = true
    else
      own[#own + 1] = argument
    end
  end
  return own, extra
end

local SPEC = {
  url = "string", engine = "string", threads = "number", connections = "number", duration = "string",
  requests = "number", rate = "string", pipeline = "number", warmup = "string", timeout = "string", json = "string",
  html = "string",
}

--- The options as tidemark.load's open takes them.
local function read_options(common, arguments)
  local own, extra = split(arguments)
  local given, rest = common.parse(own, SPEC, 1, load_command.usage)
  local function need(condition, message) if not condition then common.fail(2, "%s\n%s", message, load_command.usage) end end
  need(rest[1], "a script is needed")
  need(given.url or given.engine, "--url or --engine is needed")
  need(not (given.url and given.engine), "--url and --engine: one of them")
  need(not (given.duration and given.requests), "--duration and --requests: one of them")
  for _, name in ipairs { "connections", "pipeline" } do
    need(not (given.engine and given[name]), ("--%s is of no use with --engine"):format(name))
  end
  local rate = given.rate and tonumber(given.rate)
  need(not given.rate or (rate and rate > 0 and rate <= 1e9), "--rate: a number of starts a second")
  local threads = count(common, given, "threads", 1, 1024)
  local options = {
    script = rest[1], engine = given.engine, threads = threads,
    connections = count(common, given, "connections", math.max(10, threads), 100000),
    pipeline = count(common, given, "pipeline", 1, 1024),
    requests = given.requests and count(common, given, "requests", 1, 1 << 50),
    rate = rate,
    duration_s = seconds(common, "duration", given.duration or "10s", 0.001),
    warmup_s = seconds(common, "warmup", given.warmup or (given.requests and "0" or "2s"), 0),
    timeout_s = seconds(common, "timeout", given.timeout or "2s", 0.001),
    arguments = { given.url or given.engine, table.unpack(extra) },
  }
  need(options.connections >= threads, "--connections: at least one for each thread")
  options.scheme, options.host, options.port, options.path = "http", "localhost", nil, "/"
  if given.url then options.scheme, options.host, options.port, options.path = parse_url(common, given.url) end
  return options, given
end

--- The progress line, once a second on a terminal.
local function wait(run, options)
  local tools = require "tidemark.tools"
  if not tools.isatty(2) then
    repeat until run:wait(3600)
    return
  end
  local last = tools.monotonic()
  while not run:wait(1) do
    local now, progress = tools.monotonic(), run:progress()
    local elapsed = progress.elapsed_s or 0
    local text = "connecting"
    if progress.elapsed_s and elapsed < options.warmup_s then
      text = ("warming up, %.0f s"):format(elapsed)
    elseif progress.elapsed_s then
      text = ("%.0f s  %.0f/s  p99 %.3f ms  %d errors"):format(elapsed - options.warmup_s,
        progress.recent / (now - last), progress.p99_ms, progress.errors)
    end
    last = now
    io.stderr:write("\r", text:sub(1, tools.columns() - 1), "\27[K")
  end
  io.stderr:write "\r\27[K"
end

local function open_output(common, name)
  if not name then return nil end
  if name == "-" then return io.stdout end
  local file, message = io.open(name, "wb")
  return file or common.fail(3, "%s", message)
end

local function write_output(common, file, name, text)
  if file == io.stdout then return common.write(text) end
  local ok, message = file:write(text)
  local closed, reason = file:close()
  if not ok or not closed then common.fail(3, "%s: %s", name, message or reason) end
end

function load_command.main(common, arguments)
  local options, given = read_options(common, arguments)
  local report = require "tidemark.commands.load_report"
  local function check(ok, message, status)
    if not ok then common.fail(status, "%s", message) end
    return ok
  end
  local run <close> = check(require "tidemark.load".open(options))
  local thresholds = report.thresholds(common, options.script, run:global "thresholds")
  local json, html = open_output(common, given.json), open_output(common, given.html)
  check(run:prepare())
  io.stdout:flush() -- what the script has printed comes before what the threads print
  check(run:start())
  wait(run, options)
  local measured = check(run:report())
  local figures = report.figures(measured)
  local judged = report.judge(thresholds, figures)
  figures.title = report.title(options, given, measured)
  if json ~= io.stdout then common.write(report.text(figures, measured, judged, options)) end
  if json then write_output(common, json, given.json, report.json(figures, judged)) end
  if html then
    local page = require "tidemark.commands.load_html".page(figures, measured, judged, report.notes(figures, measured, options),
      report.json(figures, judged))
    write_output(common, html, given.html, page)
  end
  check(run:done())
  for _, threshold in ipairs(judged) do
    if not threshold.met then return 1 end
  end
  if figures.requests == 0 and not measured.interrupted then common.fail(3, "no answer was measured") end
  return 0
end

return load_command
