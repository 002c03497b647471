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

--- Runs the loop until condition() holds, which is asked after each event, and every `pause_ms` where that is given; raises
--- after `seconds`.
function process.wait(seconds, what, condition, pause_ms)
  local timer, ticks, late = uv.new_timer(), pause_ms and uv.new_timer(), false
  timer:start(math.floor(seconds * 1000), 0, function() late = true end)
  if ticks then ticks:start(pause_ms, pause_ms, function() end) end
  while not condition() and not late do uv.run "once" end
  timer:close()
  if ticks then ticks:close() end
  uv.run "nowait"
  if not condition() then error(("%s: nothing within %g s"):format(what, seconds)) end
end

--- Waits for the end; returns the exit status.
function process.finish(child, seconds)
  process.wait(seconds, child.command, function() return child.code end)
  return child.code
end

function process.sleep(seconds)
  local over = false
  local timer = uv.new_timer()
  timer:start(math.floor(seconds * 1000), 0, function() over = true end)
  while not over do uv.run "once" end
  timer:close()
end

function process.signal(child, name)
  uv.kill(child.pid, name)
end

return process
