-- serving.lua: `tidemark serve` as a child process. start waits until it serves, stop until it has ended; both have limits.
local uv = require "luv"
local workspace = require "spec.support.workspace"
local http_client = require "spec.support.http_client"

local serving = { limit_ms = 60000 }

--- Whether a handler in a loop can be stopped: ThreadSanitizer holds signals back until a thread calls the system.
serving.can_interrupt = os.getenv "TIDEMARK_SANITIZER" ~= "tsan"

local server = {}
server.__index = server
local running = {}

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

local function environment(changes)
  local all, list = uv.os_environ(), {}
  for name, value in pairs(changes or {}) do all[name] = value end
  for name, value in pairs(all) do list[#list + 1] = name .. "=" .. value end
  return list
end

--- Runs `tidemark serve` with these words; the process may end at once or serve.
function serving.launch(arguments, changes)
  local self = setmetatable({ output = "", errors = "" }, server)
  local out, err = uv.new_pipe(), uv.new_pipe()
  local handle, pid
  handle, pid = uv.spawn(workspace.build .. "/tidemark", {
    args = { "serve", table.unpack(words(arguments)) },
    stdio = { nil, out, err },
    env = environment(changes),
  }, function(code, signal)
    self.code, self.died_of = code, signal ~= 0 and signal or nil
    running[self] = nil
    handle:close()
  end)
  if not handle then error("tidemark serve: " .. tostring(pid), 2) end
  self.handle, self.pid, self.open_pipes = handle, pid, 2
  running[self] = true
  for name, pipe in pairs { output = out, errors = err } do
    pipe:read_start(function(_, bytes)
      if bytes then
        self[name] = self[name] .. bytes
      else
        self.open_pipes = self.open_pipes - 1
        pipe:close()
      end
    end)
  end
  return self
end

--- Starts a server and waits until it listens. `options`: app (source) or file (path of the script), db (directory),
--- arguments (further words), threads (1), environment. Raises with what it wrote when it does not come to serve.
function serving.start(options)
  local file, db = options.file, options.db or workspace.path()
  if not file then
    file = db:gsub("/[^/]*$", "") .. "/app.lua"
    workspace.write(file, options.app)
  end
  local self = serving.launch(("%s --db %s --listen 127.0.0.1:0 --threads %d %s"):format(file, db, options.threads or 1,
    options.arguments or ""), options.environment)
  self.db, self.file = db, file
  http_client.wait(function()
    self.port = tonumber(self.output:match "tidemark: listening on http://127%.0%.0%.1:(%d+)\n")
    return self.port or self.code
  end, serving.limit_ms)
  if not self.port then
    self:kill()
    error(("it does not serve (exit status %s): %s%s"):format(self.code, self.output, self.errors), 2)
  end
  return self
end

--- Runs a server that is expected to end by itself: exit status, standard error, standard output.
function serving.run(arguments)
  local self = serving.launch(arguments)
  if not self:wait() then
    self:kill()
    error("it serves instead of ending: " .. self.output, 2)
  end
  return self.code, self.errors, self.output
end

function server:connect()
  return assert(http_client.connect(self.port))
end

--- One request on a connection of its own.
function server:ask(method, target, headers, body)
  local one = self:connect()
  local answer = one:ask(method, target, headers, body)
  one:close()
  return answer
end

--- Waits for its end, and for all that it has written; the exit status (128 and the number, when of a signal), or nil.
function server:wait(limit_ms)
  if not http_client.wait(function() return self.code and self.open_pipes == 0 end, limit_ms or serving.limit_ms) then
    return nil
  end
  return self.died_of and 128 + self.died_of or self.code
end

function server:signal(name)
  if not self.code then self.handle:kill(name) end
end

--- Sends the signal ("sigterm") and waits for the end; the exit status.
function server:stop(name)
  self:signal(name or "sigterm")
  local status = self:wait()
  if not status then
    self:kill()
    error("it did not end after " .. (name or "sigterm"), 2)
  end
  return status
end

function server:kill()
  self:signal "sigkill"
  self:wait()
end

--- Waits until what it wrote ("output" or "errors") has the pattern; what matched.
function server:written(where, pattern, limit_ms)
  return http_client.wait(function() return self[where]:match(pattern) end, limit_ms)
end

--- The events in its directory, as `tidemark dump --json` prints them; a set of "collection/id".
function serving.dumped(db)
  local out, err, status = workspace.command("dump " .. db)
  assert(status == 0, err)
  local ids = {}
  for id in out:gmatch "[^\t\n]+\t[^\t\n]+\t[^\t\n]+\t([^\t\n]+)" do ids[id] = true end
  return ids
end

--- Ends every server and closes every client that a spec left; for after_each or teardown.
function serving.clean()
  http_client.close_all()
  for one in pairs(running) do one:kill() end
  http_client.clean()
  workspace.clean()
end

--- What a problem (RFC 9457) must be; its members.
function serving.problem(answer, status, code)
  local function fail(message)
    error(("%s: %d %s %s"):format(message, answer.status, tostring(answer.headers["content-type"]), answer.body), 3)
  end
  if answer.status ~= status then fail("not " .. status) end
  if (answer.headers["content-type"] or ""):lower():match "^[^; ]*" ~= "application/problem+json" then fail "no problem+json" end
  local ok, problem = pcall(answer.json, answer)
  if not ok or type(problem) ~= "table" then fail "no JSON" end
  if type(problem.code) ~= "string" or problem.code == "" then fail "no code" end
  if code and problem.code ~= code then fail("not the code " .. code) end
  if problem.status and problem.status ~= status then fail "another status in the problem" end
  if problem.title and type(problem.title) ~= "string" then fail "a title that is no text" end
  return problem
end

return serving
