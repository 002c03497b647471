-- http.lua: Tests 1 and 2 again, through `tidemark serve` and `tidemark load` on the same two processors: first by
-- handlers in Lua, then by the resource. What is in the log is counted after the server was stopped by SIGTERM.
local cjson = require "cjson"
local process = require "process"
local log_check = require "log_check"

local CONNECTIONS, OPEN_RATE = 64, 20000

local function read_json(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return cjson.decode(text)
end

--- Serves `path`, sends `requests` to it, stops it; returns the tester's figures.
local function load_test(build, path, base, kind, requests, options)
  local server = process.start(build .. "/tidemark",
    { "serve", "scripts/main_job/http_app.lua", "--db", path, "--listen", "127.0.0.1:0", "--threads", "1" })
  process.wait(60, "tidemark serve", function() return server.code or server.output:find "listening on" end)
  local url = server.output:match "listening on (%S+)" or error("tidemark serve: " .. server.errors)
  local figures = path .. ".json"
  local arguments = { "load", "scripts/main_job/http_load.lua", "--url", url, "--connections", tostring(CONNECTIONS),
    "--requests", tostring(requests), "--json", figures }
  for _, option in ipairs(options or {}) do arguments[#arguments + 1] = option end
  for _, argument in ipairs { "--", base, kind } do arguments[#arguments + 1] = argument end
  local tester = process.start(build .. "/tidemark", arguments)
  if process.finish(tester, 300) ~= 0 then error("tidemark load: " .. tester.output .. tester.errors) end
  process.signal(server, "sigterm")
  local code = process.finish(server, 60)
  if code ~= 0 then error(("tidemark serve ended with %d: %s"):format(code, server.errors)) end
  return read_json(figures)
end

local function whole(documents)
  local count = 0
  for id, article in pairs(documents) do
    if article.id == id and article.title == "Article number " .. article.number then count = count + 1 end
  end
  return count
end

return function(directory, report, build)
  for _, way in ipairs { "handlers", "resource" } do
    local base, title = "/" .. way .. "/articles", "HTTP, " .. way
    local path = ("%s/http-%s"):format(directory, way)
    local figures = load_test(build, path .. "-create", base, "create", 100000)
    report.rate(title .. ": 100,000 articles created", 100000, figures.duration_s, { rate = 50000, seconds = 2 })
    report.below(title .. ": p99 while creating, ms", figures.p99_ms, 5)
    report.check(title .. ": requests that failed", math.tointeger(figures.errors), 0)
    local documents = log_check(path .. "-create", report, title .. ", created", { created = 100000, updated = 0, deleted = 0 })
    report.check(title .. ": articles as they were sent", whole(documents), 100000)

    figures = load_test(build, path .. "-mixed", base, "mixed", 115000)
    report.rate(title .. ": 115,000 mixed operations", 115000, figures.duration_s, { rate = 40000 })
    report.below(title .. ": p99 of mixed operations, ms", figures.p99_ms, 5)
    report.check(title .. ": mixed requests that failed", math.tointeger(figures.errors), 0)
    log_check(path .. "-mixed", report, title .. ", mixed", { created = 100000, updated = 10000, deleted = 5000 })

    figures = load_test(build, path .. "-open", base, "create", 100000, { "--rate", tostring(OPEN_RATE) })
    report.below(title .. ": median at 20,000 requests/s, ms", figures.p50_ms, 1)
    report.below(title .. ": p99 at 20,000 requests/s, ms", figures.p99_ms, 5)
    report.check(title .. ": requests not sent in time", math.tointeger(figures.unsent), 0)
  end
end
