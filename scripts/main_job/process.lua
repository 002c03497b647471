-- process.lua: child processes, through luv.
local uv = require "luv"

local process = {}

local function reader(pipe, sink)
  pipe:read_start(function(_, bytes)
    if bytes then sink(bytes) else pipe:close() end
  end)
end

--- Starts `command` with `arguments`; returns a table with pid, output and errors so far, and code when it has ended.
function process.start(command, arguments)
  local out, err = uv.new_pipe(), uv.new_pipe()
  local child = { output = "", errors = "" }
  local handle, pid
  handle, pid = uv.spawn(command, { args = arguments, stdio = { nil, out, err } }, function(code, signal)
    child.code = signal ~= 0 and 128 + signal or code
    handle:close()
  end)
  if not handle then error(("%s: %s"):format(command, pid)) end
  child.pid, child.command = pid, command
  reader(out, function(bytes) child.output = child.output .. bytes end)
  reader(err, function(bytes) child.errors = child.errors .. bytes end)
  return child
end

--- Runs the loop until condition() holds; raises after `seconds`.
function process.wait(seconds, what, condition)
  local timer, late = uv.new_timer(), false
  timer:start(math.floor(seconds * 1000), 0, function() late = true end)
  while not condition() and not late do uv.run "once" end
  timer:close()
  uv.run "nowait"
  if not condition() then error(("%s: nothing within %g s"):format(what, seconds)) end
end

--- Waits for the end; returns the exit status.
function process.finish(child, seconds)
  process.wait(seconds, child.command, function() return child.code end)
  return child.code
end

function process.signal(child, name)
  uv.kill(child.pid, name)
end

return process
