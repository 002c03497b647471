-- server.lua: `tidemark serve` for specs. Servers are processes of a shell; each is stopped by its own id, by
-- server.clean() at the latest.
local workspace = require "spec.support.workspace"

local server = {}

local TRIES = 3000 -- of 10 ms: a bound for what hangs, nothing is timed

local started = {}

local Server = {}
Server.__index = Server

local function pause()
  os.execute "sleep 0.01"
end

--- Calls `condition` until it gives something true, and returns that.
function server.eventually(condition, what)
  for _ = 1, TRIES do
    local result = condition()
    if result then return result end
    pause()
  end
  error(("it did not come about: %s"):format(what or "the condition"), 2)
end

function server.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

--- Serves `script` on a free port: `options` are further arguments, `environment` a table of variables.
function server.start(script, path, options, environment)
  local directory = workspace.path():match "(.*)/"
  local self = setmetatable({ script = script, path = path, options = options, environment = environment,
    directory = directory }, Server)
  local variables = {}
  for name, value in pairs(environment or {}) do variables[#variables + 1] = name .. "=" .. server.quote(value) end
  -- The inner shell becomes the server, the outer one waits for it and notes its exit status.
  local inner = ("echo $$ >%s/pid; exec env %s %s/tidemark serve %s --db %s --listen 127.0.0.1:0 %s"):format(directory,
    table.concat(variables, " "), workspace.build, server.quote(script), server.quote(path), options or "--threads 2")
  workspace.write(directory .. "/start", ("sh -c %s >%s/out 2>%s/err </dev/null\n"):format(server.quote(inner), directory,
    directory) .. ("echo $? >%s/status.new\nmv %s/status.new %s/status\n"):format(directory, directory, directory))
  assert(os.execute(("sh %s/start >/dev/null 2>&1 &"):format(directory)))
  started[self] = true
  server.eventually(function()
    self.url = exists(directory .. "/out") and workspace.read(directory .. "/out"):match "listening on (http://%S+)"
    return self.url or exists(directory .. "/status")
  end, "a server that listens")
  assert(self.url, "the server has ended: " .. self:errors())
  self.port = self.url:match "%d+$"
  return self
end

function Server:errors()
  return workspace.read(self.directory .. "/err")
end

function Server:output()
  return workspace.read(self.directory .. "/out")
end

function Server:signal(name)
  if not exists(self.directory .. "/status") then
    workspace.run(("kill -%s %s"):format(name, workspace.read(self.directory .. "/pid"):match "%d+"))
  end
end

--- Waits for its end; returns the exit status.
function Server:wait()
  local file = self.directory .. "/status"
  server.eventually(function() return exists(file) end, "the server's end")
  started[self] = nil
  return tonumber((workspace.read(file)))
end

function Server:stop()
  self:signal "TERM"
  return self:wait()
end

--- The same again, on another port; what it had stored is there.
function Server:restart()
  local status = self:stop()
  assert(status == 0, "exit status " .. tostring(status) .. ": " .. self:errors())
  return server.start(self.script, self.path, self.options, self.environment)
end

--- Sends a request with curl: `headers` is a list of lines. Returns status, body, headers (names in lower case).
function Server:request(method, path, body, headers)
  local arguments = { "curl -sS -i --path-as-is --max-time 30 -H Expect:", method == "HEAD" and "-I" or "-X " .. method }
  for _, line in ipairs(headers or {}) do arguments[#arguments + 1] = "-H " .. server.quote(line) end
  if body then
    workspace.write(self.directory .. "/body", body)
    arguments[#arguments + 1] = "-H 'Content-Type: application/json' --data-binary @" .. self.directory .. "/body"
  end
  arguments[#arguments + 1] = server.quote(self.url .. path)
  local out, err, status = workspace.run(table.concat(arguments, " "))
  assert(status == 0, ("curl %s %s: %s\n%s"):format(method, path, err, self:errors()))
  local head, answer_body = out:match "^(.-\r\n)\r\n(.*)$"
  local fields = {}
  for name, value in head:gmatch "([^\r\n:]+): ([^\r\n]*)\r\n" do fields[name:lower()] = value end
  return tonumber(head:match "^HTTP/1.1 (%d%d%d) "), answer_body, fields
end

--- Stops all that were started, also those of a test that failed.
function server.clean()
  for each in pairs(started) do
    each:signal "KILL"
    pcall(each.wait, each)
    started[each] = nil
  end
  workspace.clean()
end

return server
