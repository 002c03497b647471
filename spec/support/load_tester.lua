-- load_tester.lua: for specs of tidemark load: a directory and an HTTP server for each, runs, and what comes of them.
local assert = require "luassert"
local cjson = require "cjson"
local workspace = require "spec.support.workspace"

local tester = {} -- directory, server: of the running spec

local servers

--- Another server; "reset" resets each connection.
function tester.start_server(mode)
  local log = ("%s/received-%d"):format(tester.directory, #servers + 1)
  local pipe = assert(io.popen(("exec lua5.4 spec/support/http_server.lua %s %s"):format(log, mode or "")))
  local port, pid = (pipe:read "l" or ""):match "^(%d+) (%d+)$"
  if not port then pipe:close() end
  assert(port, "the server didn't start")
  local started = { pipe = pipe, pid = pid, port = port, log = log, url = "http://127.0.0.1:" .. port }
  servers[#servers + 1] = started
  return started
end

function tester.open()
  tester.directory, servers = workspace.path():match "^(.*)/db$", {}
  tester.server = tester.start_server()
end

function tester.close()
  for _, each in ipairs(servers) do
    os.execute("kill " .. each.pid) -- its pid stays its own until the pipe is closed
    each.pipe:close()
  end
  servers = {}
  workspace.clean()
end

--- What the server received, in order, and how many bytes it sent.
function tester.received(from)
  local requests, sent = {}, 0
  for line in workspace.read((from or tester.server).log):gmatch "[^\n]+" do
    local entry = cjson.decode(line)
    assert.is_nil(entry.fault)
    if entry.sent then sent = sent + entry.sent else requests[#requests + 1] = entry end
  end
  return requests, sent
end

function tester.write_script(source)
  local path = tester.directory .. "/script.lua"
  workspace.write(path, source)
  return path
end

--- The figures as the JSON text has them, or nil; standard output, standard error, exit status.
function tester.run(source, options, target)
  local json = tester.directory .. "/figures.json"
  os.remove(json)
  local out, err, status = workspace.command(("load %s %s --json %s %s"):format(tester.write_script(source),
    target or "--url " .. tester.server.url, json, options))
  local file = io.open(json)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text ~= "" and cjson.decode(text) or nil, out, err, status
end

local function expected(status, figures, out, err, found)
  assert.equal(status, found, out .. err)
  if status >= 2 then assert.matches("^tidemark: ", err) end
  return figures, out, err
end

--- The same with the exit status that is expected; `path` is the URL's.
function tester.expect(status, source, options, path)
  return expected(status, tester.run(source, options, path and ("--url '%s%s'"):format(tester.server.url, path)))
end

function tester.expect_engine(status, source, options)
  return expected(status, tester.run(source, options, "--engine " .. tester.directory .. "/db"))
end

-- Before a script; then what it tells with say(name, value) is in said(out).
tester.SAY = "local function say(name, value) io.write('@', name, '=', tostring(value), '\\n') end\n"

function tester.said(out)
  local values = {}
  for name, value in out:gmatch "@([%w_]+)=([^\n]*)" do values[name] = tonumber(value) or value end
  return values
end

--- Requests that got no answer.
function tester.failures(figures)
  local kinds = figures.error_kinds
  return kinds.connect + kinds.read + kinds.write + kinds.timeout
end

function tester.no_errors(figures)
  assert.same({ connect = 0, read = 0, write = 0, timeout = 0, status = 0 }, figures.error_kinds)
  assert.equal(0, figures.errors)
  assert.equal(0, figures.error_rate)
end

return tester
