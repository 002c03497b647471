-- workspace.lua: fresh directories for specs, and running programs.
local uv = require "luv"

local workspace = {}

-- Under a sanitizer its library is preloaded here; most programs that specs start must not have it.
uv.os_unsetenv "LD_PRELOAD"
local preload = os.getenv "TIDEMARK_PRELOAD"

local made = {}

--- A path in which nothing exists yet; cleaned by workspace.clean().
function workspace.path()
  local name = os.tmpname()
  os.remove(name)
  assert(os.execute("mkdir -p " .. name))
  made[#made + 1] = name
  return name .. "/db"
end

function workspace.clean()
  for i = #made, 1, -1 do
    os.execute("chmod -R u+rwX " .. made[i] .. " 2>/dev/null; rm -rf " .. made[i])
    made[i] = nil
  end
end

function workspace.read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

function workspace.write(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

workspace.build = os.getenv "TIDEMARK_BUILD" or "build"

--- Runs a shell command; returns standard output, standard error, exit status.
function workspace.run(command)
  local out, err = os.tmpname(), os.tmpname()
  local _, how, status = os.execute(("sh -c '%s' >%s 2>%s </dev/null"):format(command:gsub("'", "'\\''"), out, err))
  local output, errors = workspace.read(out), workspace.read(err)
  os.remove(out)
  os.remove(err)
  return output, errors, how == "signal" and 128 + status or status
end

--- What to put in a shell command before lua5.4 so that it finds the module.
workspace.lua_environment = ("%sLUA_CPATH_5_4='%s/?.so;;'"):format(preload and ("LD_PRELOAD='%s' "):format(preload) or "",
  workspace.build)

function workspace.command(arguments)
  return workspace.run(workspace.build .. "/tidemark " .. arguments)
end

--- Starts a plain lua5.4 with the module at hand on `source`; returns what workspace.run returns.
function workspace.lua(source, arguments)
  local file = os.tmpname()
  workspace.write(file, source)
  local out, err, status = workspace.run(("%s exec lua5.4 %s %s"):format(workspace.lua_environment, file,
    arguments or ""))
  os.remove(file)
  return out, err, status
end

return workspace
