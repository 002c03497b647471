local run = {
  usage = [[
usage: tidemark run SCRIPT.lua [ARGUMENTS]

Runs a Lua 5.4 script, `-` for standard input, with the module at hand: require "tidemark" finds it. `arg` holds the
arguments, as with lua5.4. An uncaught error: exit status 3, with a traceback.

example:
  tidemark run examples/first_steps.lua
]],
}

function run.main(common, arguments)
  local script = arguments[1]
  if script == "--help" or script == "-h" then
    common.write(run.usage)
    return 0
  end
  if not script then common.fail(2, "no script\n%s", run.usage) end
  local chunk, message = loadfile(script ~= "-" and script or nil)
  if not chunk then common.fail(3, "%s", message) end
  _G.arg = { [0] = script, table.unpack(arguments, 2) }
  local ok, err = xpcall(chunk, function(err)
    return debug.traceback(tostring(err), 2)
  end, table.unpack(arguments, 2))
  if not ok then common.fail(3, "%s", err) end
  return 0
end

return run
