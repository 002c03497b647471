-- main.lua: takes the arguments apart and calls the command's own file.
local commands = {
  serve = "HTTP, as a Lua script says",
  run = "a Lua script with the module at hand",
  import = "documents from JSON lines into a collection",
  export = "a collection's documents as JSON lines",
  verify = "read the whole log and say what is damaged",
  dump = "the events of the log, one a line",
  info = "what a directory holds",
  repair = "cut out what is damaged",
  compact = "make the log smaller",
  snapshot = "write the state to a file from which opening starts",
  backup = "a copy of the log, while it is written",
  restore = "a database from a backup, as of a seq or a time",
  load = "a load test of an HTTP server or of the engine",
  bench = "what this machine gives a script",
  version = "the version",
  help = "this text, or a command's",
}
local order = { "run", "serve", "load", "import", "export", "verify", "dump", "info", "repair", "compact", "snapshot",
  "backup", "restore", "bench", "version", "help" }

local common = {}

--- Ends the command with a message: a wrong usage is 2, everything else 3.
function common.fail(status, message, ...)
  error({ status = status, message = select("#", ...) > 0 and message:format(...) or message }, 0)
end

--- Ends the command with 2, for a function of the module raised this because of an option.
function common.fail_argument(message)
  common.fail(2, "%s", (tostring(message):gsub("^bad argument #%d+ to '[^']*' %((.*)%)$", "%1")))
end

--- Options and positional arguments of a command: spec maps an option's name to "flag", "number" or "string".
function common.parse(arguments, spec, positional_max, usage)
  local options, rest, i, only_positional = {}, {}, 1, false
  while i <= #arguments do
    local argument = arguments[i]
    local name, value = argument:match "^%-%-([%w_-]+)=?(.*)$"
    if argument == "--" and not only_positional then
      only_positional = true
    elseif name and not only_positional then
      name = name:gsub("_", "-")
      local kind = spec[name]
      if not kind then common.fail(2, "unknown option --%s\n%s", name, usage) end
      if kind == "flag" then
        if argument:find "=" then common.fail(2, "--%s takes no value\n%s", name, usage) end
        options[name] = true
      else
        if not argument:find "=" then
          i = i + 1
          value = arguments[i]
          if not value then common.fail(2, "--%s needs a value\n%s", name, usage) end
        end
        if kind == "number" then
          value = math.tointeger(tonumber(value)) or common.fail(2, "--%s: %s is not a whole number", name, value)
        end
        options[name] = value
      end
    else
      rest[#rest + 1] = argument
    end
    i = i + 1
  end
  if #rest > positional_max then common.fail(2, "too many arguments: %s\n%s", rest[positional_max + 1], usage) end
  return options, rest
end

function common.open(path, options)
  local db, message = require "tidemark".open(path, options)
  return db or common.fail(3, "%s", message)
end

--- Writes to standard output; a reader who has gone away (head) ends the command quietly, a full disk doesn't.
function common.write(...)
  local ok, message, code = io.stdout:write(...)
  if not ok then
    if code == 32 then error({ status = 0 }, 0) end
    common.fail(3, "standard output: %s", message)
  end
end

--- A progress bar on a terminal for what takes over a second: returns update(done, total) and finish().
function common.progress(label)
  local tools = require "tidemark.tools"
  local shown, start, last = false, tools.monotonic(), 0
  local terminal = tools.isatty(2)
  local function update(done, total)
    local now = tools.monotonic()
    if not terminal or now - start < 1 or now - last < 0.1 then return end
    last, shown = now, true
    local text
    if total and total > 0 then
      local part = math.min(done / total, 1)
      local width = math.max(math.min(tools.columns() - #label - 14, 50), 5)
      local full = math.floor(part * width)
      text = ("%s [%s%s] %3d %%"):format(label, ("#"):rep(full), (" "):rep(width - full), math.floor(part * 100))
    else
      text = ("%s %d"):format(label, done)
    end
    io.stderr:write("\r", text, "\27[K")
  end
  return update, function() if shown then io.stderr:write "\r\27[K" end end
end

common.commands, common.order = commands, order

local function dispatch(arguments)
  local name = table.remove(arguments, 1)
  if name == nil then
    io.stderr:write(require "tidemark.commands.help".text(common))
    return 2
  end
  if name == "--help" or name == "-h" then name = "help" end
  if name == "--version" or name == "-V" then name = "version" end
  if not commands[name] then common.fail(2, "unknown command %s; see tidemark help", name) end
  local command = require("tidemark.commands." .. name)
  if name ~= "run" then
    for _, argument in ipairs(arguments) do
      if argument == "--" then break end
      if argument == "--help" or argument == "-h" then
        common.write(command.usage)
        return 0
      end
    end
  end
  return command.main(common, arguments)
end

return function(arguments)
  local ok, result = xpcall(dispatch, function(err)
    if type(err) == "table" and err.status then return err end
    return { status = 3, message = debug.traceback(tostring(err), 2) }
  end, arguments)
  if ok then return result end
  if result.message then io.stderr:write("tidemark: ", result.message, "\n") end
  return result.status
end
